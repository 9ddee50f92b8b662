// Random numbers that depend on the seed alone: SHA-256 of the seed and a counter.
import { createHash } from 'node:crypto'

export class Random {
  constructor(seed) {
    this.seed = seed
    this.drawn = 0
  }

  // next returns a number that is at least 0 and below 1.
  next() {
    const sum = createHash('sha256').update(`${this.seed}/${this.drawn++}`).digest()
    return sum.readUInt32BE(0) / 2 ** 32
  }

  below(n) {
    return Math.floor(this.next() * n)
  }

  chance(p) {
    return this.next() < p
  }

  pick(list) {
    return list[this.below(list.length)]
  }
}
