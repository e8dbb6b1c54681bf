/** Certificates of entries, by the names of the manifest. */

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { verifyCertificatePath } from '../../attestation/core/certificate-path.ts';
import { contentOf, objectIdentifierOf, readElement, Tag, textOf } from '../../attestation/core/der.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { ExtensionId, KeyUsage, readCertificate } from '../../attestation/core/x509.ts';
import type { Certificate } from '../../attestation/core/x509.ts';
import { directoryNames } from '../../attestation/tpm/tpm-names.ts';
import { fileOf, Unjudged } from './vector-tpm-case.ts';
import type { Members, TpmCase } from './vector-tpm-case.ts';
import { SHA1_REASON } from './vector-tpm-reasons.ts';

/** The certificates above, from the issuer to the root. */
export function chainOf(subject: TpmCase): readonly Uint8Array[] {
  const names = Object.keys(subject.vector.files).filter((name) => /^ca\d$/.test(name));
  return names.sort().map((name) => fileOf(subject, name));
}

/** A time at which everything of a path was valid already, POSIX seconds. */
export function timeOfChain(leaf: Certificate, chain: readonly Uint8Array[]): number {
  const authorities = chain.map((bytes, i) => readCertificate(bytes, `ca${i}`));
  return Math.max(leaf.notBefore, ...authorities.map(({ notBefore }) => notBefore));
}

/** Whether the leaf leads to the last certificate of the chain, which the entry takes for its root. */
export async function chainVerifies(
  leaf: Certificate,
  chain: readonly Uint8Array[],
): Promise<boolean | Unjudged> {
  const root = chain.at(-1);
  if (root === undefined) return false;
  try {
    await verifyCertificatePath(leaf, {
      intermediates: chain.slice(0, -1),
      anchors: [{ name: 'root', certificate: root, simulated: false }],
      time: timeOfChain(leaf, chain),
      validity: 'enforce',
      understoodLeafExtensions: [ExtensionId.subjectAltName, ExtensionId.extendedKeyUsage],
    });
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return error.refusal.code === 'certificate-algorithm' ? new Unjudged(SHA1_REASON) : false;
  }
  const { issuer, subject } = readCertificate(root, 'root');
  return equalBytes(issuer, subject);
}

export function certificateMembers(certificate: Certificate): Members {
  const { extensions, extendedKeyUsage } = certificate;
  const hexOf = (identifier: string): string | null => {
    const value = extensions.get(identifier)?.value;
    return value === undefined ? null : toHex(value);
  };
  return {
    subjectEmpty: certificate.subject.length === 2,
    validFrom: timeText(certificate.notBefore),
    validTo: timeText(certificate.notAfter),
    san: nameMembers(certificate),
    eku: extendedKeyUsage ?? null,
    keyUsageDer: hexOf(ExtensionId.keyUsage),
    criticalExtensions: [...extensions].filter(([, { isCritical }]) => isCritical).map(([id]) => id),
    subjectDirectoryAttributes: hexOf(ExtensionId.subjectDirectoryAttributes),
  };
}

function nameMembers({ extensions }: Certificate): Members | null {
  const extension = extensions.get(ExtensionId.subjectAltName);
  if (extension === undefined) return null;
  return { critical: extension.isCritical, ...Object.fromEntries(directoryNames(extension.value)) };
}

export function usageText({ keyUsage }: Certificate): string {
  const named = Object.entries(KeyUsage).filter(([, bit]) => keyUsage?.has(bit) === true);
  return named.map(([name]) => name).join(', ');
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** As OpenSSL prints times. */
function timeText(posixSeconds: number): string {
  const date = new Date(posixSeconds * 1000);
  const clock = date.toISOString().slice(11, 19);
  const day = String(date.getUTCDate()).padStart(2);
  return `${MONTHS[date.getUTCMonth()]} ${day} ${clock} ${date.getUTCFullYear()} GMT`;
}

const ATTRIBUTE_NAMES: ReadonlyMap<string, string> = new Map([
  ['2.5.4.3', 'CN'],
  ['2.5.4.6', 'C'],
  ['2.5.4.7', 'L'],
  ['2.5.4.8', 'ST'],
  ['2.5.4.10', 'O'],
  ['2.5.4.11', 'OU'],
]);

/** A name in the order in which it is encoded; ` + ` joins what one set holds. */
export function nameText(name: Uint8Array): string {
  const sets = contentOf(readElement(name, Tag.sequence, 'name'));
  const texts: string[] = [];
  while (!sets.isAtEnd) {
    const set = contentOf(sets.next(Tag.set, 'rdn'));
    const attributes: string[] = [];
    while (!set.isAtEnd) {
      const attribute = contentOf(set.next(Tag.sequence, 'attribute'));
      const type = objectIdentifierOf(attribute.next(Tag.objectIdentifier, 'type'));
      const value = textOf(attribute.any('value'));
      attributes.push(`${ATTRIBUTE_NAMES.get(type) ?? type}=${value.replaceAll(',', String.raw`\,`)}`);
    }
    texts.push(attributes.join(' + '));
  }
  return texts.join(', ');
}
