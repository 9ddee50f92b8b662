import { useState, type CSSProperties } from 'react';
import { left, life, seconds } from '../cache/model.ts';
import type { Part } from '../cache/report.ts';
import { useNow } from './hooks.ts';

interface Props {
  part: Part;
  /** When the response was read, in milliseconds since the epoch. */
  at: number;
}

/** A bar for the remaining lifetime of a part. It shrinks, and the text beside it says the same. */
export function Drain({ part, at }: Props) {
  // Fixed at the first render: the animation runs by itself from there.
  const [spent] = useState(() => (part.age ?? 0) + Math.max(0, (Date.now() - at) / 1000));
  const style = { '--life': `${Math.max(life(part), 0.001)}s`, '--spent': `${-spent}s` } as CSSProperties;
  return (
    <span className={`cache-drain ${part.tier}`} style={style} aria-hidden="true">
      <span />
    </span>
  );
}

/** The remaining lifetime of a part in words, updated each second. */
export function Left({ part, at }: Props) {
  const now = useNow();
  const seconds_ = left(part, Math.max(0, (now - at) / 1000));
  return <span className="cache-left">{seconds_ > 0 ? `${seconds(seconds_)} left` : 'ended'}</span>;
}
