/**
 * The XML of reference manifests, as a tree of the few things that are left of XML when all that a manifest does not need
 * is refused. saxes says what is well-formed; what is allowed is said here (docs/spec/nvidia-rim.md, section 1).
 */

import { SaxesParser } from '#saxes';
import type { SaxesAttributeNS, SaxesTagNS, XMLDecl } from '#saxes';

import { excerpt, fromUtf8 } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';

export const xmlRefusals = defineRefusals('malformed', {
  'rim-size': {
    means: 'A reference manifest is larger than any that NVIDIA has published.',
    hint: 'Check that the file is one manifest; real ones are 20 to 26 KB.',
  },
  'rim-xml': {
    means: 'A reference manifest is not well-formed XML.',
    hint: 'The file was cut or altered; fetch it again.',
  },
  'rim-xml-forbidden': {
    means: 'A reference manifest uses a part of XML that manifests do not need.',
    hint: 'Entities, processing instructions and comments in values are how signed XML is forged; fetch the file again.',
  },
  'rim-xml-limit': {
    means:
      'A reference manifest has more elements or attributes, or goes deeper, than any that NVIDIA has published.',
    hint: 'Check that the file is one manifest.',
  },
  'rim-xml-namespace': {
    means: 'A reference manifest uses a namespace that this release does not know.',
    hint: 'A newer release may know it; it must not be ignored.',
  },
});

/** The namespaces that a manifest may use, under the short names that stand before the colon in this code. */
const NAMESPACES: ReadonlyMap<string, string> = new Map([
  ['http://standards.iso.org/iso/19770/-2/2015/schema.xsd', 'swid'],
  [
    'https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/',
    'tcg',
  ],
  ['http://www.w3.org/2001/04/xmlenc#sha384', 'sha384'],
  ['https://docs.nvidia.com/attestation/specs/latest/opaque-data.html', 'opaque'],
  ['http://www.w3.org/2000/09/xmldsig#', 'ds'],
]);

const XMLNS_NAMESPACE = 'http://www.w3.org/2000/xmlns/';

export interface XmlAttribute {
  /** With the short name of its namespace, as in `sha384:Hash0`; alone where it has none. */
  readonly name: string;
  /** As written, with its prefix. */
  readonly qualifiedName: string;
  readonly localName: string;
  /** Empty for an attribute without a prefix. */
  readonly namespace: string;
  readonly value: string;
}

export interface XmlElement {
  /** With the short name of its namespace, as in `swid:Payload`, under whatever prefix it was written. */
  readonly name: string;
  /** As written, with its prefix. */
  readonly qualifiedName: string;
  /** Namespaces by the prefix that this very element binds them to; the empty prefix is the default namespace. */
  readonly declarations: ReadonlyMap<string, string>;
  readonly attributes: readonly XmlAttribute[];
  /** Elements and text, in order. */
  readonly content: readonly (XmlElement | string)[];
}

export const MAX_RIM_BYTES = 256 * 1024;
const MAX_ELEMENTS = 512;
const MAX_DEPTH = 8;
const MAX_ATTRIBUTES = 64;

const ASCII_NAME = /^[\x21-\x7e]{1,100}$/;

/**
 * Reads a document and gives its root.
 *
 * @throws RefusalError `rim-size`, `rim-xml`, `rim-xml-*`, `utf8-malformed`
 */
export function readXml(bytes: Uint8Array, field: string): XmlElement {
  if (bytes.length > MAX_RIM_BYTES) {
    throw xmlRefusals.error('rim-size', {
      field,
      expected: `at most ${MAX_RIM_BYTES} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  return new TreeReader(field).read(fromUtf8(bytes, field));
}

/** An element whose end tag has not been read. */
interface OpenElement extends XmlElement {
  readonly content: (XmlElement | string)[];
  hasComment: boolean;
}

/** Makes a tree of the parser's events. One reader reads one document. */
class TreeReader {
  private readonly field: string;
  private readonly open: OpenElement[] = [];
  private elements = 0;
  private attributes = 0;
  private root: XmlElement | undefined;

  constructor(field: string) {
    this.field = field;
  }

  read(text: string): XmlElement {
    if (text.startsWith('\ufeff')) throw this.forbidden('a byte-order mark');
    // The version is what we say, not what the document says: XML 1.1 knows other characters and line ends.
    const parser = new SaxesParser({
      ...{ xmlns: true, forceXMLVersion: true, defaultXMLVersion: '1.0' },
      position: false,
    });
    this.listen(parser);
    parser.write(text).close();
    if (this.root === undefined) throw this.refusal('rim-xml', 'an element', 'none');
    return this.root;
  }

  private listen(parser: SaxesParser): void {
    parser.on('error', ({ message }) => {
      throw this.refusal('rim-xml', 'well-formed XML 1.0', excerpt(message));
    });
    parser.on('xmldecl', (declaration) => {
      this.checkDeclaration(declaration);
    });
    parser.on('doctype', () => {
      throw this.forbidden('a document type declaration');
    });
    parser.on('processinginstruction', () => {
      throw this.forbidden('a processing instruction');
    });
    parser.on('cdata', () => {
      throw this.forbidden('a CDATA section');
    });
    parser.on('comment', () => {
      const element = this.open.at(-1);
      if (element !== undefined) element.hasComment = true;
    });
    parser.on('opentagstart', () => {
      this.startElement();
    });
    parser.on('attribute', () => {
      this.attributes += 1;
      if (this.attributes > MAX_ATTRIBUTES) throw this.beyond(`${MAX_ATTRIBUTES} attributes of an element`);
    });
    parser.on('opentag', (tag) => {
      this.open.push({ ...this.elementOf(tag), content: [], hasComment: false });
    });
    parser.on('text', (text) => {
      this.open.at(-1)?.content.push(text);
    });
    parser.on('closetag', () => {
      this.endElement();
    });
  }

  private checkDeclaration({ version, encoding }: XMLDecl): void {
    if (version === '1.0' && (encoding === undefined || encoding.toUpperCase() === 'UTF-8')) return;
    throw this.forbidden(excerpt(`XML ${version ?? 'of no version'} in ${encoding ?? 'UTF-8'}`));
  }

  private startElement(): void {
    this.attributes = 0;
    this.elements += 1;
    if (this.elements > MAX_ELEMENTS) throw this.beyond(`${MAX_ELEMENTS} elements`);
    if (this.open.length >= MAX_DEPTH) throw this.beyond(`a depth of ${MAX_DEPTH}`);
  }

  private elementOf(tag: SaxesTagNS): XmlElement {
    const all = Object.values(tag.attributes);
    const declared = all.filter(({ uri }) => uri === XMLNS_NAMESPACE);
    const declarations = new Map(declared.map((attribute) => this.declarationOf(attribute)));
    const attributes = all
      .filter(({ uri }) => uri !== XMLNS_NAMESPACE)
      .map((attribute) => this.attributeOf(attribute));
    const name = `${this.namespaceName(tag.uri, tag.name)}:${this.asciiName(tag.local)}`;
    return { name, qualifiedName: this.asciiName(tag.name), declarations, attributes, content: [] };
  }

  private declarationOf({ name, local, value }: SaxesAttributeNS): readonly [string, string] {
    this.namespaceName(value, name);
    return [name === 'xmlns' ? '' : this.asciiName(local), value];
  }

  private attributeOf({ name, local, uri, value }: SaxesAttributeNS): XmlAttribute {
    const qualified = uri === '' ? local : `${this.namespaceName(uri, name)}:${local}`;
    return {
      name: this.asciiName(qualified),
      qualifiedName: this.asciiName(name),
      localName: local,
      namespace: uri,
      value,
    };
  }

  /** The short name of a namespace. The namespace `xml` and the absence of one have none. */
  private namespaceName(uri: string, where: string): string {
    const name = NAMESPACES.get(uri);
    if (name !== undefined) return name;
    const found = `${excerpt(where)} in ${uri === '' ? 'no namespace' : excerpt(uri)}`;
    throw this.refusal('rim-xml-namespace', 'a namespace that manifests use', found);
  }

  /** Canonical order is that of code points; for ASCII it is that of JavaScript's strings. */
  private asciiName(name: string): string {
    if (ASCII_NAME.test(name)) return name;
    throw this.forbidden(`the name ${excerpt(name)}`);
  }

  private endElement(): void {
    const element = this.open.pop();
    if (element === undefined) throw new TypeError('an end tag without a start tag');
    const text = textIn(element);
    const hasElements = element.content.some((item) => typeof item !== 'string');
    if (!isWhiteSpace(text)) {
      if (hasElements) throw this.forbidden(`text beside elements in ${element.name}`);
      if (element.hasComment) throw this.forbidden(`a comment beside text in ${element.name}`);
    }
    const { name, qualifiedName, declarations, attributes, content } = element;
    const closed = { name, qualifiedName, declarations, attributes, content };
    const parent = this.open.at(-1);
    if (parent === undefined) this.root = closed;
    else parent.content.push(closed);
  }

  private refusal(code: keyof typeof xmlRefusals.codes, expected: string, found: string): Error {
    return xmlRefusals.error(code, { field: this.field, expected, found });
  }

  private forbidden(found: string): Error {
    return this.refusal('rim-xml-forbidden', 'elements, attributes and plain text in UTF-8', found);
  }

  private beyond(limit: string): Error {
    return this.refusal('rim-xml-limit', `at most ${limit}`, 'more');
  }
}

/** White space of XML 1.0 (production 3), or nothing. */
export function isWhiteSpace(text: string): boolean {
  return /^[ \t\r\n]*$/.test(text);
}

/** The text that stands in an element itself, not in elements below it. */
export function textIn({ content }: XmlElement): string {
  return content.filter((item) => typeof item === 'string').join('');
}

/** The elements right below one. */
export function elementsIn({ content }: XmlElement): readonly XmlElement[] {
  return content.filter((item) => typeof item !== 'string');
}
