/** Which piece of collateral a file holds: told from its own content, and checked before it is kept. */

import { readCertificateList } from '../../attestation/core/certificate-list.ts';
import { NameAttribute, nameAttributes } from '../../attestation/core/distinguished-name.ts';
import { defineRefusals, isRefusal } from '../../attestation/core/refusal.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { chipIdOf } from '../../attestation/sev-snp/identity.ts';
import { readKeyCertificate } from '../../attestation/sev-snp/key-certificate.ts';
import { PRODUCT_LINES, type ProductLine } from '../../attestation/sev-snp/product.ts';
import { joinCertificates, splitCertificates } from '../platform/collateral/certificates.ts';
import type { CollateralItem } from '../platform/collateral/source.ts';
import { readInput } from './evidence-files.ts';

export const collateralImportRefusals = defineRefusals('malformed', {
  'collateral-unknown': {
    means: 'A file is no collateral that is kept.',
    hint: 'Import VCEK certificates, chains of ASK or ASVK and ARK in one file, and revocation lists of an ARK.',
  },
});

export interface ImportableItem {
  readonly item: CollateralItem;
  readonly bytes: Uint8Array;
}

/** A revocation list belongs to a root, and so to both chains below it. @throws RefusalError `collateral-unknown`, `file-*` */
export async function readImportable(path: string): Promise<readonly ImportableItem[]> {
  const bytes = await readInput(path);
  const list = readList(bytes);
  if (list !== undefined) {
    const line = lineOf(list, /^ARK-(.*)$/, path);
    const signers = ['vcek', 'vlek'] as const;
    return signers.map((signer) => ({ item: { kind: 'crl', line, signer }, bytes }));
  }
  const certificates = splitCertificates(bytes, path);
  return certificates.length === 1 ? [vcekItem(bytes, path)] : [chainItem(certificates, path)];
}

/** The issuer of a list; undefined for what is none. */
function readList(bytes: Uint8Array): string | undefined {
  try {
    return commonName(readCertificateList(bytes, 'crl').issuer);
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

function commonName(name: Uint8Array): string {
  return nameAttributes(name, 'name').get(NameAttribute.commonName) ?? 'none';
}

function lineOf(name: string, pattern: RegExp, path: string): ProductLine {
  const found = pattern.exec(name)?.at(-1);
  const line = PRODUCT_LINES.find((known) => known === found);
  if (line !== undefined) return line;
  throw collateralImportRefusals.error('collateral-unknown', {
    field: path,
    expected: 'a name of AMD’s hierarchy',
    found: name,
  });
}

function vcekItem(bytes: Uint8Array, path: string): ImportableItem {
  const [der = bytes] = splitCertificates(bytes, path);
  const key = readKeyCertificate(der, path);
  if (key.kind === 'vcek') {
    const { line, tcb } = key;
    return { item: { kind: 'vcek', line, chipId: chipIdOf(key.hardwareId), tcb }, bytes: der };
  }
  throw collateralImportRefusals.error('collateral-unknown', {
    field: path,
    expected: 'a VCEK',
    found: 'a VLEK, which comes with evidence',
  });
}

/** AMD writes the intermediate first; some tools the other way round. */
function chainItem(certificates: readonly Uint8Array[], path: string): ImportableItem {
  const named = certificates.map((der) => ({ der, name: commonName(readCertificate(der, path).subject) }));
  const isRoot = ({ name }: (typeof named)[number]): boolean => name.startsWith('ARK-');
  const ordered = [...named.filter((entry) => !isRoot(entry)), ...named.filter(isRoot)];
  const intermediate = ordered[0]?.name ?? 'none';
  const line = lineOf(intermediate, /^SEV-(?:VLEK-)?(.*)$/, path);
  const signer = intermediate.startsWith('SEV-VLEK-') ? 'vlek' : 'vcek';
  return { item: { kind: 'chain', line, signer }, bytes: joinCertificates(ordered.map(({ der }) => der)) };
}
