/** What the manifest states of certificates, in its words. */

import { sha256 } from '@noble/hashes/sha2.js';

import { toHex } from '../../attestation/core/bytes.ts';
import { NameAttribute, nameAttributes } from '../../attestation/core/distinguished-name.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import type { Certificate } from '../../attestation/core/x509.ts';
import { NVIDIA_AUTHORITIES } from '../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import type { NvidiaSet } from './vector-nvidia-case.ts';
import { derOfBlock, pemBlocks } from './vector-nvidia-edits-pem.ts';
import { membersLine } from './vector-nvidia-judgement.ts';
import type { Members } from './vector-nvidia-judgement.ts';
import type { RootEntry } from './vector-nvidia-manifest.ts';
import type { VectorLine } from './vector-runner.ts';

/** The certificates of a PEM file, in its order. @throws RefusalError `der-*`, `certificate-*` */
export function readPemCertificates(bytes: Uint8Array): readonly Certificate[] {
  return pemBlocks(bytes).map((block, i) => readCertificate(derOfBlock(block), `certificates[${i}]`));
}

export function commonNameOf({ subject }: Certificate): string | undefined {
  return nameAttributes(subject, 'subject').get(NameAttribute.commonName);
}

export function timeText(posixSeconds: number): string {
  return new Date(posixSeconds * 1000).toISOString().replace('.000Z', 'Z');
}

/** SHA-256 of the public key, hex. */
export function keyDigest({ subjectPublicKeyInfo }: Certificate): string {
  return toHex(sha256(subjectPublicKeyInfo));
}

/** The validity of a chain as the manifest lists it. */
export function validityOf(chain: readonly Certificate[]): readonly object[] {
  return chain.map((certificate) => ({
    cn: commonNameOf(certificate),
    not_before: timeText(certificate.notBefore),
    not_after: timeText(certificate.notAfter),
  }));
}

/** The line about an authority of the manifest: its file, and that it is one of those that this project ships as anchors. */
export async function rootLine({ folder }: NvidiaSet, root: RootEntry): Promise<VectorLine> {
  const { file, ...stated } = root;
  const bytes = folder.file(file, root.sha256);
  const read = (): Members => {
    const [certificate] = readPemCertificates(bytes);
    if (certificate === undefined) return {};
    const spki = keyDigest(certificate);
    return {
      cn: commonNameOf(certificate),
      bytes: bytes.length,
      sha256: toHex(sha256(bytes)),
      certificate_sha256: toHex(sha256(certificate.encoded)),
      spki_sha256: spki,
      not_before: timeText(certificate.notBefore),
      not_after: timeText(certificate.notAfter),
      anchor: NVIDIA_AUTHORITIES.find(({ publicKeyDigest }) => publicKeyDigest === spki)?.commonName,
    };
  };
  return membersLine(`${file}#root`, { ...stated, anchor: root.cn }, read, { failing: [], table: {} });
}
