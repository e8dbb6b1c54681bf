/**
 * The signature of a manifest (W3C XMLDSIG 1.1) as its bytes state it. Only the one form that NVIDIA writes is read; nothing
 * in it chooses an algorithm, a key or what was signed. Whether it holds is for authenticate.ts.
 */

import { excerpt, fromBase64 } from '../../core/bytes.ts';
import { defineRefusals, isRefusal } from '../../core/refusal.ts';
import { canonicalXml } from './canonical-xml.ts';
import type { NamespaceScope } from './canonical-xml.ts';
import { attributesOf, elementsNamed, elementsOf, textOf } from './xml-shape.ts';
import { elementsIn } from './xml.ts';
import type { XmlElement } from './xml.ts';

export const signatureShapeRefusals = defineRefusals('malformed', {
  'rim-one-signature': {
    means: 'A reference manifest does not have exactly one signature, at the end of its root.',
    hint: 'Fetch the manifest again: a second signature, or one elsewhere, is how signed XML is forged.',
  },
  'rim-signature-shape': {
    means: 'The signature of a reference manifest holds something else than NVIDIA writes there.',
    hint: 'Keys and objects inside of a signature are not signed; fetch the manifest again.',
  },
  'rim-algorithm': {
    means:
      'The signature of a reference manifest names another algorithm, transform or reference than the one form.',
    hint: 'Accepted are Canonical XML 1.1, ECDSA with SHA-384, SHA-384 and one reference to the whole document.',
  },
  'rim-chain-length': {
    means: 'A reference manifest does not carry four certificates.',
    hint: 'A manifest carries signer, two authorities and root; fetch it again.',
  },
});

/** What a manifest states about its signature. */
export interface RimSignature {
  /** Canonical form of SignedInfo: what was signed. */
  readonly signedInfo: Uint8Array;
  /** Of the manifest without its signature, 48 bytes. */
  readonly digest: Uint8Array;
  /** r and s, 48 bytes each. */
  readonly value: Uint8Array;
  /** DER: signer, two authorities, root. */
  readonly certificates: readonly Uint8Array[];
}

/** A root taken apart: the signature, and all that it can cover. */
export interface SignedParts {
  readonly signature: RimSignature;
  readonly content: XmlElement;
}

/** Certificates of a manifest. */
export const CHAIN_LENGTH = 4;
const DIGEST_BYTES = 48;
const SIGNATURE_BYTES = 96;
const CANONICAL_XML = 'http://www.w3.org/2006/12/xml-c14n11';
const ENVELOPED_SIGNATURE = 'http://www.w3.org/2000/09/xmldsig#enveloped-signature';
const ECDSA_SHA384 = 'http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384';
const SHA384 = 'http://www.w3.org/2001/04/xmldsig-more#sha384';

/**
 * Takes a root apart.
 *
 * @throws RefusalError `rim-one-signature`, `rim-signature-shape`, `rim-algorithm`, `rim-chain-length`, `base64-malformed`
 */
export function readSignedParts(root: XmlElement): SignedParts {
  const element = onlySignature(root);
  const scope = new Map([...root.declarations, ...element.declarations]);
  const signature = inShape(() => readSignature(element, scope));
  // The enveloped-signature transform: everything but this one element, white space around it included.
  const content = { ...root, content: root.content.filter((item) => item !== element) };
  return { signature, content };
}

function onlySignature(root: XmlElement): XmlElement {
  const last = elementsIn(root).at(-1);
  const count = countSignatures(root);
  if (last?.name === 'ds:Signature' && count === 1) return last;
  throw signatureShapeRefusals.error('rim-one-signature', {
    field: 'rim',
    expected: 'one Signature, as the last element of the root',
    found: `${count} in the document, ${last?.name ?? 'nothing'} as the last element`,
  });
}

function countSignatures(element: XmlElement): number {
  const below = elementsIn(element).map(countSignatures);
  return below.reduce((sum, count) => sum + count, element.name === 'ds:Signature' ? 1 : 0);
}

/** Elements and attributes that do not belong there are one matter here, whichever they are. */
function inShape<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!isRefusal(error) || !SHAPE_CODES.has(error.refusal.code)) throw error;
    const { field, expected, found } = error.refusal;
    throw signatureShapeRefusals.error('rim-signature-shape', { field, expected, found }, { cause: error });
  }
}

const SHAPE_CODES: ReadonlySet<string> = new Set(['rim-element', 'rim-attribute']);

function readSignature(element: XmlElement, scope: NamespaceScope): RimSignature {
  const path = 'rim.Signature';
  attributesOf(element, path, {});
  const [signedInfo, value, keyInfo] = elementsOf(element, path, [
    'ds:SignedInfo',
    'ds:SignatureValue',
    'ds:KeyInfo',
  ]);
  return {
    signedInfo: canonicalXml(signedInfo, scope),
    digest: readSignedInfo(signedInfo, `${path}.SignedInfo`),
    value: readBytes(value, `${path}.SignatureValue`, SIGNATURE_BYTES),
    certificates: readKeyInfo(keyInfo, `${path}.KeyInfo`),
  };
}

/** The digest that SignedInfo states; everything else in it is fixed. */
function readSignedInfo(element: XmlElement, path: string): Uint8Array {
  attributesOf(element, path, {});
  const [canonicalization, method, reference] = elementsOf(element, path, [
    'ds:CanonicalizationMethod',
    'ds:SignatureMethod',
    'ds:Reference',
  ]);
  expectAlgorithm(canonicalization, `${path}.CanonicalizationMethod`, CANONICAL_XML);
  expectAlgorithm(method, `${path}.SignatureMethod`, ECDSA_SHA384);
  return readReference(reference, `${path}.Reference`);
}

function readReference(element: XmlElement, path: string): Uint8Array {
  expect(`${path}@URI`, '', attributesOf(element, path, { URI: ANY_TEXT }).URI);
  const [transforms, method, value] = elementsOf(element, path, [
    'ds:Transforms',
    'ds:DigestMethod',
    'ds:DigestValue',
  ]);
  attributesOf(transforms, `${path}.Transforms`, {});
  const [first, second] = elementsOf(transforms, `${path}.Transforms`, ['ds:Transform', 'ds:Transform']);
  expectAlgorithm(first, `${path}.Transforms[0]`, ENVELOPED_SIGNATURE);
  expectAlgorithm(second, `${path}.Transforms[1]`, CANONICAL_XML);
  expectAlgorithm(method, `${path}.DigestMethod`, SHA384);
  return readBytes(value, `${path}.DigestValue`, DIGEST_BYTES);
}

/** An element that names an algorithm and has no parameters. */
function expectAlgorithm(element: XmlElement, path: string, algorithm: string): void {
  const { Algorithm: found } = attributesOf(element, path, { Algorithm: ANY_TEXT });
  expect(path, algorithm, found);
  elementsOf(element, path, []);
}

const ANY_TEXT = /(?:)/;

function expect(field: string, expected: string, found: string): void {
  if (found === expected) return;
  throw signatureShapeRefusals.error('rim-algorithm', {
    field,
    expected: expected || 'an empty URI: the whole document',
    found: excerpt(found),
  });
}

function readKeyInfo(element: XmlElement, path: string): readonly Uint8Array[] {
  attributesOf(element, path, {});
  const [data] = elementsOf(element, path, ['ds:X509Data']);
  attributesOf(data, `${path}.X509Data`, {});
  const certificates = elementsNamed(data, `${path}.X509Data`, 'ds:X509Certificate');
  if (certificates.length !== CHAIN_LENGTH) {
    throw signatureShapeRefusals.error('rim-chain-length', {
      field: `${path}.X509Data`,
      expected: `${CHAIN_LENGTH} certificates`,
      found: String(certificates.length),
    });
  }
  return certificates.map((certificate, i) => readBytes(certificate, `${path}.certificates[${i}]`));
}

/** Base64 with white space anywhere (XML Schema Part 2, 3.2.16). */
function readBytes(element: XmlElement, path: string, length?: number): Uint8Array {
  attributesOf(element, path, {});
  const bytes = fromBase64(textOf(element, path).replace(/[ \t\r\n]/g, ''), path);
  if (length !== undefined && bytes.length !== length) {
    throw signatureShapeRefusals.error('rim-signature-shape', {
      field: path,
      expected: `${length} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  return bytes;
}
