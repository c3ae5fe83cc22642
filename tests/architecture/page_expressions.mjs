// Prints each expression of the page that takes longer than its text is long, as `file: expression`.
// Arguments: the folder of the page, then the repeated texts as JSON.
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

import ts from "typescript";

const [, , folder, repetitions] = process.argv;
const LONG = 20_000; // characters; the engine is fast
const LONGEST = 4 * LONG;
const NEGLIGIBLE = 5; // milliseconds
const MAX_GROWTH = 8; // 4: linear; 16: quadratic

function* expressions() {
  for (const name of readdirSync(folder, { recursive: true })) {
    if (!name.endsWith(".js") || name.startsWith("vendor")) continue;
    const path = join(folder, name);
    const found = [];
    const visit = (node) => {
      if (ts.isRegularExpressionLiteral(node)) found.push(node.text);
      ts.forEachChild(node, visit);
    };
    visit(ts.createSourceFile(path, readFileSync(path, "utf8"), ts.ScriptTarget.Latest));
    for (const text of found) yield [relative(folder, path), text];
  }
}

const milliseconds = (expression, text) => {
  let best = Infinity;
  for (let round = 0; round < 3; round += 1) {
    const began = performance.now();
    text.replace(expression, "");
    best = Math.min(best, performance.now() - began);
    if (best < NEGLIGIBLE) break;
  }
  return best;
};

const grows = (expression, repeated, end) => {
  const text = (length) => repeated.repeat(length / repeated.length) + end;
  const long = milliseconds(expression, text(LONG));
  return long > NEGLIGIBLE && milliseconds(expression, text(LONGEST)) > MAX_GROWTH * long;
};

let count = 0;
for (const [file, literal] of expressions()) {
  const end = literal.lastIndexOf("/");
  const expression = new RegExp(literal.slice(1, end), literal.slice(end + 1));
  const slow = JSON.parse(repetitions).filter((repeated) =>
    ["", "\0"].some((last) => grows(expression, repeated, last)),
  );
  if (slow.length) console.log(`${file}: ${literal} of ${JSON.stringify(slow.slice(0, 5))}`);
  count += 1;
}
console.error(count);
