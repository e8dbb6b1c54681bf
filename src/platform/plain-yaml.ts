/** YAML 1.2 of the subset in which every text has one meaning: nothing in it has a second spelling (W11). */

import { isAlias, isNode, parseDocument, visit, type Document, type YAMLError } from 'yaml';

import { excerpt } from '../../attestation/core/bytes.ts';

/** Throws the caller's own refusal; each kind of file has its code. `found` is short and safe to print. */
export type YamlRefusal = (expected: string, found: string) => never;

/**
 * Reads one document. Its shape is still to be checked.
 *
 * @param text comes from a file of the operator, its size already bounded
 * @throws what `refuse` throws: for text that is no YAML, directives, several documents, anchors, aliases, tags,
 *   repeated members and members that are named by a list or a map
 */
export function parsePlainYaml(text: string, refuse: YamlRefusal): unknown {
  if (/^%/m.test(text)) refuse('no directives', 'a line that begins with %');
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    merge: false,
    strict: true,
    uniqueKeys: true,
    stringKeys: true,
    logLevel: 'error',
    prettyErrors: true,
  });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) refuse('plain YAML', describe(problem));
  refuseSecondSpellings(document, refuse);
  return document.toJS({ maxAliasCount: 0 });
}

/** The place first, so that it survives where the text is shortened; the parser puts it, and an excerpt, at the end. */
function describe({ message, linePos }: YAMLError): string {
  const [text = ''] = message.split(/ at line |\n/, 1);
  const line = linePos?.[0].line;
  return line === undefined ? excerpt(text) : `line ${line}: ${excerpt(text)}`;
}

function refuseSecondSpellings(document: Document, refuse: YamlRefusal): void {
  visit(document, (_key, node) => {
    if (isAlias(node)) refuse('no aliases', `*${excerpt(node.source)}`);
    if (!isNode(node)) return;
    if (node.anchor !== undefined) refuse('no anchors', `&${excerpt(node.anchor)}`);
    if (node.tag !== undefined) refuse('no tags', excerpt(node.tag));
  });
}
