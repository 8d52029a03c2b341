/**
 * Writes API.md from the declarations that the compiler made of lib/.
 *
 *     node api.mjs [DIST [FILE]]      DIST is dist/lib, FILE is API.md; `-` prints it
 *
 * It fails when something that is exported has no comment.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';

const HEAD = `# API of amp-forwarder-cdk

Made of the comments in [lib](lib) by \`npm run api\`. Start with [AmpForwarder](#ampforwarder) and its [props](#ampforwarderprops).
`;

/** The exported names of an index.d.ts, with the module that each comes from. */
function exported(index) {
  const found = [];
  for (const [, names, from] of index.matchAll(/export (?:type )?\{([^}]*)\} from '\.\/([\w-]+)'/g)) {
    for (const name of names.split(',')) found.push({ name: name.trim(), from });
  }
  return found;
}

/** A comment as text: its sentences, its parameters and its default. */
function prose(comment) {
  const lines = (comment ?? '').replace(/^\s*\/\*\*|\*\/\s*$/g, '').split('\n');
  const text = lines.map((line) => line.replace(/^\s*\* ?/, '')).join(' ').replace(/\s+/g, ' ').trim();
  const [sentences = '', ...tags] = text.split(/ ?@(?=default|param)/);
  const linked = (part) => part.replace(/\{@link ([\w.]+)\}/g, '`$1`').trim();
  const parameters = tags.filter((tag) => tag.startsWith('param')).map((tag) => tag.replace(/^param (\w+) /, '`$1`: '));
  const standard = tags.find((tag) => tag.startsWith('default'))?.replace(/^default (- )?/, '');
  return { text: linked([sentences.trim(), ...parameters].filter(Boolean).join(' — ')), standard: standard && linked(standard) };
}

/** The members of a declaration: each comment, and the line below it. */
function members(body) {
  const found = [];
  for (const [, comment, line] of body.matchAll(/(?:^ {4}(\/\*\*(?:(?!\*\/)[\s\S])*\*\/)\n)?^ {4}(?! |\*|\/|\}|#)(.+?)[;,]?$/gm)) {
    if (!line.startsWith('private ')) found.push({ comment, line });
  }
  return found;
}

/** The Markdown of one declaration. */
function section(name, text) {
  const start = new RegExp(`(/\\*\\*(?:(?!\\*/)[\\s\\S])*\\*/\\n)?export (declare )?(abstract )?(class|interface|enum|const|type) ${name}\\b.*\n?`).exec(text);
  if (start === null) throw new Error(`${name} is exported, and not declared`);
  const about = prose(start[1]).text;
  if (about === '') throw new Error(`${name} has no comment`);
  const rest = text.slice(start.index + start[0].length);
  const body = start[0].trimEnd().endsWith('{') ? rest.slice(0, rest.search(/^\}/m)) : '';
  const rows = members(body).map(({ comment, line }) => {
    const { text: said, standard } = prose(comment);
    if (said === '') throw new Error(`${name}: no comment above ${line}`);
    return `- \`${line.replace(/^readonly /, '')}\`  \n  ${said}${standard === undefined ? '' : ` *Default: ${standard}.*`}`;
  });
  const needed = rows.length > 0 && start[4] === 'interface' ? ' (`?`: may be left out)' : '';
  return [`## ${name}`, `${/^[ie]/.test(start[4]) ? 'An' : 'A'} ${start[4]}${needed}. ${about}`, ...(rows.length > 0 ? [rows.join('\n')] : [])].join('\n\n');
}

const [dist = 'dist/lib', file = 'API.md'] = process.argv.slice(2);
const declarations = (module) => fs.readFileSync(path.join(dist, `${module}.d.ts`), 'utf8');
const sections = exported(declarations('index')).map(({ name, from }) => section(name, declarations(from)));
const api = `${[HEAD.trim(), ...sections].join('\n\n')}\n`;
if (file === '-') process.stdout.write(api);
else fs.writeFileSync(file, api);
