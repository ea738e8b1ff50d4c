// node /tmp/tools/rename.mjs list.txt   (run in the root of a work tree)
// lines: FILE SYMBOL NEW  or FILE TYPE.MEMBER NEW  or FILE SYMBOL@LINE NEW (a local at that line). # comments.
import { execSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

const root = process.cwd();
const cfg = ts.parseJsonConfigFileContent(
  ts.readConfigFile('tsconfig.json', ts.sys.readFile).config,
  ts.sys,
  root,
);
const files = cfg.fileNames;
const versions = new Map();
const text = new Map();
const read = (f) => {
  if (!text.has(f)) text.set(f, readFileSync(f, 'utf8'));
  return text.get(f);
};
const host = {
  getScriptFileNames: () => files,
  getScriptVersion: (f) => String(versions.get(f) ?? 0),
  getScriptSnapshot: (f) => {
    try {
      return ts.ScriptSnapshot.fromString(read(f));
    } catch {
      return undefined;
    }
  },
  getCurrentDirectory: () => root,
  getCompilationSettings: () => cfg.options,
  getDefaultLibFileName: (o) => ts.getDefaultLibFilePath(o),
  fileExists: ts.sys.fileExists,
  readFile: ts.sys.readFile,
  readDirectory: ts.sys.readDirectory,
  directoryExists: ts.sys.directoryExists,
  getDirectories: ts.sys.getDirectories,
};
const svc = ts.createLanguageService(host, ts.createDocumentRegistry());
const touched = new Set();
let bad = 0;
for (const line of readFileSync(process.argv[2], 'utf8').split('\n')) {
  const l = line.trim();
  if (!l || l.startsWith('#')) continue;
  const [f, sym, nw] = l.split(/\s+/);
  const abs = path.resolve(f);
  const sf = svc.getProgram().getSourceFile(abs);
  if (!sf) {
    console.log('no file', f);
    bad++;
    continue;
  }
  let pos = -1;
  const [name, lineNo] = sym.split('@');
  const [a, b] = name.split('.');
  const visit = (n, owner) => {
    if (pos >= 0) return;
    if (n.name && ts.isIdentifier(n.name)) {
      const nm = n.name.text;
      if (lineNo) {
        if (nm === a && sf.getLineAndCharacterOfPosition(n.name.getStart()).line + 1 === Number(lineNo)) {
          pos = n.name.getStart();
          return;
        }
      } else if (b === undefined) {
        if (nm === a && (n.parent === sf || (ts.isVariableDeclaration(n) && n.parent.parent.parent === sf))) {
          pos = n.name.getStart();
          return;
        }
      } else if (nm === b && owner === a) {
        pos = n.name.getStart();
        return;
      }
    }
    const o =
      ts.isInterfaceDeclaration(n) ||
      ts.isTypeAliasDeclaration(n) ||
      ts.isClassDeclaration(n) ||
      ts.isEnumDeclaration(n)
        ? n.name?.text
        : owner;
    ts.forEachChild(n, (c) => visit(c, o));
  };
  visit(sf, undefined);
  if (pos < 0) {
    console.log('not found', l);
    bad++;
    continue;
  }
  const locs = svc.findRenameLocations(abs, pos, false, false, { providePrefixAndSuffixTextForRename: true });
  if (!locs) {
    console.log('cannot rename', l);
    bad++;
    continue;
  }
  const by = new Map();
  for (const x of locs) {
    if (x.fileName.includes('node_modules')) continue;
    (by.get(x.fileName) ?? by.set(x.fileName, []).get(x.fileName)).push(x);
  }
  for (const [fn, xs] of by) {
    let t = read(fn);
    for (const x of xs.sort((p, q) => q.textSpan.start - p.textSpan.start))
      t =
        t.slice(0, x.textSpan.start) +
        (x.prefixText ?? '') +
        nw +
        (x.suffixText ?? '') +
        t.slice(x.textSpan.start + x.textSpan.length);
    text.set(fn, t);
    versions.set(fn, (versions.get(fn) ?? 0) + 1);
    touched.add(fn);
  }
  console.log(`${sym} → ${nw}: ${locs.length} in ${by.size}`);
}
for (const f of touched) writeFileSync(f, text.get(f));
process.exit(bad ? 1 : 0);
