/** What `weightgate evidence` reads: bounded files of anybody's making, one of which may be standard input. */

import { basename } from 'node:path';

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { readCertificateList } from '../../attestation/core/certificate-list.ts';
import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { NameAttribute, nameAttributes } from '../../attestation/core/distinguished-name.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { collateralNames } from '../../attestation/sev-snp/chain.ts';
import type { SevSnpCertificates } from '../../attestation/sev-snp/evidence.ts';
import { PRODUCT_LINES } from '../../attestation/sev-snp/product.ts';
import { splitCertificates } from '../platform/collateral/certificates.ts';
import { fileRefusals, readFileBounded } from '../platform/files.ts';
import { parsePlainYaml } from '../platform/plain-yaml.ts';

export const evidenceFileRefusals = defineRefusals('malformed', {
  'evidence-certificate': {
    means: 'A certificate is none of AMD’s hierarchy for SEV-SNP, or the second of its kind.',
    hint: 'Give one VCEK or VLEK, one ASK or ASVK and one ARK.',
  },
  'evidence-revocation-list': {
    means: 'A revocation list is not one of AMD’s roots, or the second of its root.',
    hint: 'Give the list of the root above the certificates.',
  },
  'evidence-document': {
    means: 'A policy, reference value or other document is not JSON or plain YAML.',
    hint: 'Compare the document with its specification.',
  },
});

/** Standard input in place of a file. */
export const STANDARD_INPUT = '-';

/** Far above any certificate, report or list; nothing larger is read to be refused afterwards. */
const MAX_BINARY_BYTES = 256 * 1024;
const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

/** @throws RefusalError `file-*` */
export async function readInput(path: string, maxBytes = MAX_BINARY_BYTES): Promise<Uint8Array> {
  return path === STANDARD_INPUT ? await readStandardInput(maxBytes) : await readFileBounded(path, maxBytes);
}

async function readStandardInput(maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of process.stdin as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > maxBytes) {
      const facts = { field: 'standard input', expected: `at most ${maxBytes} bytes`, found: 'more' };
      throw fileRefusals.error('file-too-large', facts);
    }
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** A document of JSON, or of the YAML that has one meaning. Its shape is still to be checked. */
export async function readDocument(path: string): Promise<JsonValue> {
  const text = fromUtf8(await readInput(path, MAX_DOCUMENT_BYTES), path);
  const value = parsePlainYaml(text, (expected, found) => {
    throw evidenceFileRefusals.error('evidence-document', { field: path, expected, found });
  });
  return value as JsonValue;
}

/** Which member of a chain a certificate says that it is; its path is verified later. */
const KINDS: readonly (readonly [RegExp, keyof SevSnpCertificates])[] = [
  [/^SEV-VCEK$/, 'vcek'],
  [/^SEV-VLEK$/, 'vlek'],
  [new RegExp(`^SEV-(?:VLEK-)?(?:${PRODUCT_LINES.join('|')})$`), 'intermediate'],
  [new RegExp(`^ARK-(?:${PRODUCT_LINES.join('|')})$`), 'ark'],
];

/** Sorts certificates by their names. @throws RefusalError `evidence-certificate`, `pem-malformed`, `certificate-*`, `der-*` */
export async function readCertificateFiles(paths: readonly string[]): Promise<SevSnpCertificates> {
  const found = new Map<keyof SevSnpCertificates, Uint8Array>();
  for (const path of paths) {
    for (const der of splitCertificates(await readInput(path), path)) {
      const name = commonName(readCertificate(der, path).subject, path);
      const kind = KINDS.find(([pattern]) => pattern.test(name))?.[1];
      if (kind === undefined || found.has(kind)) {
        throw evidenceFileRefusals.error('evidence-certificate', {
          field: path,
          expected: 'each certificate of the hierarchy once',
          found: kind === undefined ? name : `another ${kind}`,
        });
      }
      found.set(kind, der);
    }
  }
  const certificate = (kind: keyof SevSnpCertificates): Uint8Array | undefined => found.get(kind);
  return {
    vcek: certificate('vcek'),
    vlek: certificate('vlek'),
    intermediate: certificate('intermediate'),
    ark: certificate('ark'),
  };
}

function commonName(name: Uint8Array, path: string): string {
  return nameAttributes(name, path).get(NameAttribute.commonName) ?? 'no common name';
}

/** Lists under the names by which the verifier looks them up. */
export async function readRevocationLists(
  paths: readonly string[],
): Promise<ReadonlyMap<string, Uint8Array>> {
  const lists = new Map<string, Uint8Array>();
  for (const path of paths) {
    const bytes = await readInput(path);
    const issuer = commonName(readCertificateList(bytes, path).issuer, path);
    const line = PRODUCT_LINES.find((known) => issuer === `ARK-${known}`);
    const name = line && collateralNames.revocationList(line);
    if (name === undefined || lists.has(name)) {
      throw evidenceFileRefusals.error('evidence-revocation-list', {
        field: path,
        expected: 'one list of each root',
        found: name === undefined ? issuer : `another of ${issuer}`,
      });
    }
    lists.set(name, bytes);
  }
  return lists;
}

/** Roots of simulated hardware, by their certificates: what a simulator signs is never taken for the real thing (W9). */
export async function readSimulatedRoots(paths: readonly string[]): Promise<readonly TrustAnchor[]> {
  const files = await Promise.all(paths.map(async (path) => [path, await readInput(path)] as const));
  return files.flatMap(([path, bytes]) =>
    splitCertificates(bytes, path).map((certificate) => ({
      name: basename(path),
      certificate,
      simulated: true,
    })),
  );
}
