/** AMD's own certificates and lists from the shared vectors, as a key server would hold them. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { sha256 } from '@noble/hashes/sha2.js';

import type { PinnedKeyAnchor } from '../../attestation/core/certificate-path.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { readKeyCertificate } from '../../attestation/sev-snp/key-certificate.ts';
import { chipIdOf } from '../../attestation/sev-snp/identity.ts';
import type { ProductLine } from '../../attestation/sev-snp/product.ts';
import { joinCertificates } from '../../src/platform/collateral/certificates.ts';
import type { CollateralItem, CollateralSource, VcekItem } from '../../src/platform/collateral/source.ts';
import { collateralName } from '../../src/platform/collateral/source.ts';
import { vectorFolder, vectorsMissing } from './vectors.ts';

export const amdVectorsMissing = vectorsMissing('snp');

export function amdFile(path: string): Uint8Array {
  return new Uint8Array(readFileSync(join(vectorFolder('snp'), path)));
}

/** A root as an operator pins it. */
export function pinnedRoot(line: ProductLine): PinnedKeyAnchor {
  const { subjectPublicKeyInfo } = readCertificate(amdFile(`certs/${line.toLowerCase()}-ark.der`), 'ark');
  return { name: `ARK-${line}`, publicKeyDigest: sha256(subjectPublicKeyInfo), simulated: false };
}

/** ASK or ASVK and ARK, as the service writes them. */
export function amdChain(line: ProductLine, intermediate = 'ask'): Uint8Array {
  const name = line.toLowerCase();
  return joinCertificates([amdFile(`certs/${name}-${intermediate}.der`), amdFile(`certs/${name}-ark.der`)]);
}

/** What one would ask for to get this certificate. */
export function itemOfVcek(der: Uint8Array): VcekItem {
  const facts = readKeyCertificate(der, 'vcek');
  if (facts.kind !== 'vcek') throw new Error('the vector has no VCEK');
  return { kind: 'vcek', line: facts.line, chipId: chipIdOf(facts.hardwareId), tcb: facts.tcb };
}

/** A source that has these things, and counts what it is asked for. */
export function fixedSource(
  ...contents: readonly (readonly [CollateralItem, Uint8Array])[]
): CollateralSource & { readonly asked: string[] } {
  const byName = new Map(contents.map(([item, bytes]) => [collateralName(item), bytes]));
  const asked: string[] = [];
  return {
    asked,
    find: (item) => {
      asked.push(collateralName(item));
      return Promise.resolve(byName.get(collateralName(item)));
    },
  };
}
