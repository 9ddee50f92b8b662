// Runs graphql-http's audits of GraphQL over HTTP against the server with the URL in the first
// argument: node audits.mjs http://127.0.0.1:8080/graphql
import { auditServer } from "graphql-http";

const results = await auditServer({ url: process.argv[2] });
for (const { id, name, status, reason } of results) {
  if (status !== "ok") {
    console.log(`${status}: ${id} ${name}: ${reason}`);
    process.exitCode = 1;
  }
}
console.log(`passed ${results.filter(({ status }) => status === "ok").length} of ${results.length}`);
