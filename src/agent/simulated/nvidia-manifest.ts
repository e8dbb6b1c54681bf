/** A reference integrity manifest in the form of NVIDIA's (docs/spec/nvidia-rim.md), as text and with its signature. */

import { createHash, sign, type KeyObject } from 'node:crypto';

import { toBase64, toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { plainAttributes, xmlElement, xmlText, type Namespaces, type XmlAttribute } from './xml-writer.ts';

const SWID = 'http://standards.iso.org/iso/19770/-2/2015/schema.xsd';
const TCG =
  'https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/';
const SHA384 = 'http://www.w3.org/2001/04/xmlenc#sha384';
const OPAQUE_DATA = 'https://docs.nvidia.com/attestation/specs/latest/opaque-data.html';
const SIGNATURE = 'http://www.w3.org/2000/09/xmldsig#';
const CANONICAL_XML = 'http://www.w3.org/2006/12/xml-c14n11';

/** Reference values of one measurement block, or the least security version of one field of the opaque data. */
export type ManifestResource =
  | { readonly index: number; readonly active: boolean; readonly alternatives: readonly Uint8Array[] }
  | { readonly opaqueType: number; readonly active: boolean; readonly minimumSvn: number };

export interface ManifestContents {
  /** `GH100`, `GB100`, `LS10`. */
  readonly product: string;
  readonly edition: 'GPU' | 'SWITCH';
  /** Of the driver, the VBIOS, or the switch's firmware. */
  readonly version: string;
  readonly resources: readonly ManifestResource[];
}

/** Indices of resources about opaque data begin here. */
const OPAQUE_INDEX_BASE = 0x1000;
const CERTIFICATE_LINE = /.{1,64}/g;

/** A key with the certificates that are put beside its signature, signer to root, DER. */
export interface ManifestSigner {
  readonly key: KeyObject;
  readonly certificates: readonly Uint8Array[];
}

/** The manifest with its signature, UTF-8. It is written in canonical form, so digests are over its own characters. */
export function signedManifest(contents: ManifestContents, signer: ManifestSigner): Uint8Array {
  const unsigned = manifestText(contents);
  const end = unsigned.lastIndexOf('</');
  const signature = signatureText(unsigned, namespacesOf(contents), signer);
  return toUtf8(`${unsigned.slice(0, end)}${signature}${unsigned.slice(end)}`);
}

function namespacesOf({ resources }: ManifestContents): Namespaces {
  const common = { '': SWID, ns0: SWID, ns2: SHA384 };
  return resources.some((resource) => 'opaqueType' in resource) ? { ...common, ns3: OPAQUE_DATA } : common;
}

function manifestText(contents: ManifestContents): string {
  const { product, version } = contents;
  const namespaces = namespacesOf(contents);
  const tagId = createHash('sha384').update(`${product} ${version}`).digest('hex');
  const states = { corpus: 'false', patch: 'false', supplemental: 'false' };
  return xmlElement({
    name: 'SoftwareIdentity',
    namespaces,
    attributes: plainAttributes({ name: product, tagId, version: '1.0', tagVersion: '0', ...states }),
    content: [
      ...['\n    ', entity()],
      ...['\n    ', meta(contents)],
      ...['\n    ', payload(contents, namespaces), '\n'],
    ],
  });
}

function entity(): string {
  const attributes = plainAttributes({ name: 'NVIDIA Corporation', role: 'softwareCreator tagCreator' });
  return xmlElement({ name: 'ns0:Entity', attributes });
}

function meta({ product, edition, version }: ManifestContents): string {
  const plain = { colloquialVersion: version, edition, product, revision: 'r1', PayloadType: 'direct' };
  const information = {
    BindingSpec: 'RIMIM',
    BindingSpecVersion: '1.01',
    PlatformManufacturerId: '5703',
    PlatformManufacturerStr: 'NVIDIA Corporation',
    PlatformModel: product,
    FirmwareManufacturer: 'NVIDIA Corporation',
    FirmwareManufacturerId: '5703',
  };
  const attributes = [...plainAttributes(plain), ...withPrefix('ns1', plainAttributes(information))];
  return xmlElement({ name: 'ns0:Meta', namespaces: { ns1: TCG }, attributes });
}

function payload({ resources }: ManifestContents, namespaces: Namespaces): string {
  const content = resources.flatMap((resource) => ['\n        ', resourceText(resource, namespaces)]);
  return xmlElement({ name: 'ns0:Payload', content: [...content, '\n    '] });
}

function resourceText(resource: ManifestResource, namespaces: Namespaces): string {
  const index = 'opaqueType' in resource ? OPAQUE_INDEX_BASE + resource.opaqueType : resource.index;
  const common = { type: 'Measurement', index: String(index), active: resource.active ? 'True' : 'False' };
  const [sizes, values] = 'opaqueType' in resource ? minimumOf(resource) : hashesOf(resource);
  const attributes = [
    ...plainAttributes({ ...common, name: `Measurement_${index}`, ...sizes }),
    ...values.map((attribute) => attribute),
  ];
  return xmlElement({ name: 'ns0:Resource', attributes }, namespaces);
}

type SizesAndValues = readonly [
  sizes: Readonly<Record<string, string>>,
  values: readonly Required<XmlAttribute>[],
];

function hashesOf({ alternatives }: { readonly alternatives: readonly Uint8Array[] }): SizesAndValues {
  const hashes = Object.fromEntries(alternatives.map((value, i) => [`Hash${i}`, toHex(value)]));
  const sizes = { alternatives: String(alternatives.length), size: '48' };
  return [sizes, withPrefix('ns2', plainAttributes(hashes))];
}

function minimumOf({ minimumSvn }: { readonly minimumSvn: number }): SizesAndValues {
  const values = { minSvn: String(minimumSvn), includeInResult: 'True' };
  return [{ alternatives: '1', size: '2' }, withPrefix('ns3', plainAttributes(values))];
}

function withPrefix(prefix: string, attributes: readonly XmlAttribute[]): readonly Required<XmlAttribute>[] {
  return attributes.map((attribute) => ({ ...attribute, prefix }));
}

function signatureText(unsigned: string, namespaces: Namespaces, signer: ManifestSigner): string {
  const digest = createHash('sha384').update(unsigned).digest();
  const inScope = { ...namespaces, ds: SIGNATURE };
  const value = sign('sha384', toUtf8(signedInfo(digest, inScope)), {
    key: signer.key,
    dsaEncoding: 'ieee-p1363',
  });
  const certificates = signer.certificates.map((certificate) => {
    const lines = toBase64(certificate).match(CERTIFICATE_LINE) ?? [];
    return leaf('X509Certificate', `${lines.join('\n')}\n`);
  });
  const keyInfo = node('KeyInfo', node('X509Data', ...certificates));
  const content = [signedInfo(digest, {}), leaf('SignatureValue', toBase64(value)), keyInfo];
  return xmlElement({ name: 'ds:Signature', namespaces: { ds: SIGNATURE }, content });
}

/** @param namespaces written on the element: all that are in scope for the signature, none in the document */
function signedInfo(digest: Uint8Array, namespaces: Namespaces): string {
  const transforms = [`${SIGNATURE}enveloped-signature`, CANONICAL_XML];
  const content = [
    algorithm('CanonicalizationMethod', CANONICAL_XML),
    algorithm('SignatureMethod', 'http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384'),
    xmlElement({
      name: 'ds:Reference',
      attributes: plainAttributes({ URI: '' }),
      content: [
        node('Transforms', ...transforms.map((uri) => algorithm('Transform', uri))),
        algorithm('DigestMethod', 'http://www.w3.org/2001/04/xmldsig-more#sha384'),
        leaf('DigestValue', toBase64(digest)),
      ],
    }),
  ];
  return xmlElement({ name: 'ds:SignedInfo', namespaces, content });
}

function algorithm(name: string, uri: string): string {
  return xmlElement({ name: `ds:${name}`, attributes: plainAttributes({ Algorithm: uri }) });
}

function node(name: string, ...content: readonly string[]): string {
  return xmlElement({ name: `ds:${name}`, content });
}

function leaf(name: string, text: string): string {
  return node(name, xmlText(text));
}
