/** Manifests made for tests as texts, so that a test can put anything anywhere, and sign it or not. */

import { createHash, sign } from 'node:crypto';

import { toBase64, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import type { TrustAnchor } from '../../../../attestation/core/certificate-path.ts';
import { authenticateRim } from '../../../../attestation/nvidia-gpu/rim/authenticate.ts';
import type { RimInputs } from '../../../../attestation/nvidia-gpu/rim/authenticate.ts';
import { canonicalXml } from '../../../../attestation/nvidia-gpu/rim/canonical-xml.ts';
import { readRim } from '../../../../attestation/nvidia-gpu/rim/document.ts';
import { readXml } from '../../../../attestation/nvidia-gpu/rim/xml.ts';
import {
  authority,
  AUTHORITY_USAGE,
  certify,
  keyUsage,
  noAuthority,
  SIGNATURE_USAGE,
} from '../../../../src/agent/simulated/nvidia-certificates.ts';
import type { CertifiedKey } from '../../../../src/agent/simulated/nvidia-certificates.ts';
import { refusalCodeAsync } from '../../../support/refusal-code.ts';

export const SWID = 'http://standards.iso.org/iso/19770/-2/2015/schema.xsd';
export const DS = 'http://www.w3.org/2000/09/xmldsig#';
const SHA384 = 'http://www.w3.org/2001/04/xmlenc#sha384';
const OPAQUE = 'https://docs.nvidia.com/attestation/specs/latest/opaque-data.html';
const TCG =
  'https://trustedcomputinggroup.org/resource/tcg-reference-integrity-manifest-rim-information-model/';
const C14N = 'http://www.w3.org/2006/12/xml-c14n11';

/** Present of the tests, POSIX seconds. */
export const NOW = Date.UTC(2026, 10, 1) / 1000;
const DAY = 86_400;

/** A digest of 48 equal bytes, hex. */
export const digestOf = (byte: number): string => toHex(new Uint8Array(48).fill(byte));

/** A resource with hashes; `edit` is written after its other attributes. */
export function measurement(index: number, active: boolean, hashes: readonly string[], edit = ''): string {
  const attributes = hashes.map((hash, i) => `ns2:Hash${i}="${hash}"`).join(' ');
  return (
    `<ns0:Resource type="Measurement" index="${index}" active="${active ? 'True' : 'False'}"` +
    ` alternatives="${hashes.length}" ${attributes} name="Measurement_${index}" size="48"${edit}/>`
  );
}

/** A resource with a minimum security version of the opaque data. */
export function securityVersion(index: number, minimum: string, edit = ''): string {
  return (
    `<ns0:Resource type="Measurement" index="${index}" active="True" ns3:minSvn="${minimum}"` +
    ` name="Svn_${index}"${edit}/>`
  );
}

export interface MadeManifest {
  readonly product?: string;
  readonly edition?: string;
  readonly version?: string;
  readonly resources?: readonly string[];
}

/** The text of a manifest without a signature. */
export function manifestText(made: MadeManifest = {}): string {
  const { product = 'GH100', edition = 'GPU', version = '550.90.07' } = made;
  const resources = made.resources ?? [measurement(7, true, [digestOf(7)])];
  return [
    `<SoftwareIdentity xmlns="${SWID}" xmlns:ns0="${SWID}" xmlns:ns2="${SHA384}" xmlns:ns3="${OPAQUE}"`,
    ` corpus="false" name="${product}" patch="false" supplemental="false" tagId="0a1b" version="1.0" tagVersion="0">\n`,
    '  <ns0:Entity name="NVIDIA Corporation" role="softwareCreator tagCreator"/>\n',
    `  <ns0:Meta xmlns:ns1="${TCG}" colloquialVersion="${version}" edition="${edition}" product="${product}"`,
    ' revision="r1" PayloadType="direct" ns1:BindingSpec="RIMIM" ns1:BindingSpecVersion="1.01"',
    ' ns1:PlatformManufacturerId="5703" ns1:PlatformManufacturerStr="NVIDIA Corporation"',
    ` ns1:PlatformModel="${product}" ns1:FirmwareManufacturer="NVIDIA Corporation" ns1:FirmwareManufacturerId="5703"/>\n`,
    `  <ns0:Payload>${resources.join('\n')}</ns0:Payload>\n</SoftwareIdentity>`,
  ].join('');
}

/** Signer, two authorities, root. */
export type SignerChain = readonly [CertifiedKey, CertifiedKey, CertifiedKey, CertifiedKey];

export interface ChainEdits {
  readonly rootName?: string;
  readonly signerExtensions?: Parameters<typeof certify>[0]['extensions'];
  readonly lowerExtensions?: Parameters<typeof certify>[0]['extensions'];
  readonly rootExtensions?: Parameters<typeof certify>[0]['extensions'];
}

const issuing = [authority(), keyUsage(AUTHORITY_USAGE)];

export async function makeChain(edits: ChainEdits = {}): Promise<SignerChain> {
  const make = (
    name: string,
    days: number,
    extensions: Parameters<typeof certify>[0]['extensions'],
    issuer?: CertifiedKey,
  ): Promise<CertifiedKey> => {
    const times = { notBefore: NOW - 100 * DAY, notAfter: NOW + days * DAY };
    return certify({ name: [['CN', name]], ...times, extensions }, issuer);
  };
  const root = await make(edits.rootName ?? 'Root', 900, edits.rootExtensions ?? issuing);
  const upper = await make('CA', 800, issuing, root);
  const lower = await make('L3', 700, edits.lowerExtensions ?? issuing, upper);
  const signing = [noAuthority(), keyUsage(SIGNATURE_USAGE)];
  return [await make('Signer', 600, edits.signerExtensions ?? signing, lower), lower, upper, root];
}

/** What a test may change in a signature before it is made. */
export interface SignatureEdits {
  /** Of SignedInfo, which is then signed as changed. */
  readonly signedInfo?: (text: string) => string;
  /** Of the whole element, which is not signed. */
  readonly signature?: (text: string) => string;
}

/** Puts a signature at the end of the root. */
export function signText(text: string, chain: readonly CertifiedKey[], edits: SignatureEdits = {}): string {
  const root = readXml(toUtf8(text), 'made');
  const digest = createHash('sha384').update(canonicalXml(root)).digest('base64');
  const { signedInfo = asIs, signature = asIs } = edits;
  const info = signedInfo(signedInfoText(digest));
  const alone = info.replace('<ds:SignedInfo', `<ds:SignedInfo xmlns:ds="${DS}"`);
  const signed = canonicalXml(readXml(toUtf8(alone), 'made'), root.declarations);
  const [{ key }] = chain as SignerChain;
  const value = sign('sha384', signed, { key, dsaEncoding: 'ieee-p1363' }).toString('base64');
  const certificates = chain
    .map(({ certificate }) => `<ds:X509Certificate>${toBase64(certificate)}\n</ds:X509Certificate>`)
    .join('');
  const element =
    `<ds:Signature xmlns:ds="${DS}">${info}<ds:SignatureValue>${value}</ds:SignatureValue>` +
    `<ds:KeyInfo><ds:X509Data>${certificates}</ds:X509Data></ds:KeyInfo></ds:Signature>`;
  const end = text.lastIndexOf('</');
  return `${text.slice(0, end)}${signature(element)}${text.slice(end)}`;
}

const asIs = (text: string): string => text;

function signedInfoText(digest: string): string {
  return (
    `<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="${C14N}"/>` +
    '<ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"/>' +
    `<ds:Reference URI=""><ds:Transforms><ds:Transform Algorithm="${DS}enveloped-signature"/>` +
    `<ds:Transform Algorithm="${C14N}"/></ds:Transforms>` +
    '<ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#sha384"/>' +
    `<ds:DigestValue>${digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>`
  );
}

/** A root as an anchor for reference values. */
export function anchorOf({ certificate }: CertifiedKey, simulated = true): TrustAnchor {
  return { name: 'made root', purpose: 'reference-values', certificate, simulated };
}

/** Inputs under which a manifest of the chain is good without answers about its certificates. */
export function inputsOf(chain: SignerChain, edits: Partial<RimInputs> = {}): RimInputs {
  return {
    anchors: [anchorOf(chain[3])],
    time: NOW,
    revocation: { collateral: new Map(), maxAgeSeconds: DAY, missing: 'accept', hold: 'refuse' },
    ...edits,
  };
}

/** Reads and verifies a text; `accepted` or the code of the refusal. */
export function outcomeOf(text: string, inputs: RimInputs): Promise<string> {
  return refusalCodeAsync(async () => authenticateRim(readRim(toUtf8(text)), inputs));
}
