/**
 * Whether collateral for SEV-SNP is what was asked for and leads to an accepted root (docs/spec/collateral.md, CO-2). A
 * verification makes all of these checks again, and more: this is what keeps forgeries and mix-ups out of a store.
 */

import { equalBytes } from '../../../attestation/core/bytes.ts';
import { readCertificateList, verifyCertificateList } from '../../../attestation/core/certificate-list.ts';
import { verifyCertificatePath, type TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import { NameAttribute, nameAttributes } from '../../../attestation/core/distinguished-name.ts';
import { defineRefusals, isRefusal } from '../../../attestation/core/refusal.ts';
import { readCertificate, type Certificate } from '../../../attestation/core/x509.ts';
import { chipIdOf } from '../../../attestation/sev-snp/identity.ts';
import { readKeyCertificate } from '../../../attestation/sev-snp/key-certificate.ts';
import { TCB_COMPONENTS, tcbText } from '../../../attestation/sev-snp/tcb.ts';
import { splitCertificates } from './certificates.ts';
import { keptCollateralRefusals, type CollateralCheck } from './kept-collateral.ts';
import { chipIdText, type CollateralItem, type RevocationListItem, type VcekItem } from './source.ts';

export const collateralCheckRefusals = defineRefusals('inauthentic', {
  'collateral-other': {
    means: 'Collateral is genuine, but not what was asked for.',
    hint: 'Certificates of two machines, product lines or firmware levels were mixed up.',
  },
  'collateral-chain-missing': {
    means: 'The certificates by which a piece of collateral could be checked are not there.',
    hint: 'Import the chain of the product line first: ASK or ASVK, and ARK.',
  },
});

interface Chain {
  readonly intermediate: Certificate;
  readonly root: Certificate;
}

/** After this time a revocation list is asked for again, though the old one is in force. */
const REVOCATION_LIST_SECONDS = 24 * 60 * 60;

/** The check of a store whose operator accepts these roots. */
export function sevSnpCollateralCheck(anchors: readonly TrustAnchor[]): CollateralCheck {
  return {
    verify: async (item, bytes, { time, find }) => {
      if (item.kind === 'chain') {
        await checkChain(readChain(bytes, item), item, { anchors, time });
        return;
      }
      const chain = await find(chainOf(item));
      if (chain === undefined) throw chainMissing(item);
      const above = readChain(chain, item);
      if (item.kind === 'vcek') await checkVcek(item, bytes, above, { anchors, time });
      else await verifyCertificateList(readCertificateList(bytes, 'crl'), above.root, time, 'crl');
    },
    refreshSeconds: ({ kind }) => (kind === 'crl' ? REVOCATION_LIST_SECONDS : undefined),
    demandNotOlder: (item, offered, kept) => {
      if (item.kind === 'crl') demandNotOlder(offered, kept);
    },
    beside: () => [],
  };
}

function chainOf(item: VcekItem | RevocationListItem): CollateralItem {
  return { kind: 'chain', line: item.line, signer: item.kind === 'vcek' ? 'vcek' : item.signer };
}

/** A list that was revoked from cannot come back: its number only rises. */
function demandNotOlder(offeredBytes: Uint8Array, keptBytes: Uint8Array): void {
  const [offered, kept] = [readCertificateList(offeredBytes, 'crl').number, numberOf(keptBytes)];
  if (kept === undefined || offered >= kept) return;
  throw keptCollateralRefusals.error('collateral-older', {
    field: 'crl.cRLNumber',
    expected: `at least ${kept}`,
    found: String(offered),
  });
}

/** Undefined for a file that is no list any more: such a one may be replaced. */
function numberOf(bytes: Uint8Array): number | undefined {
  try {
    return readCertificateList(bytes, 'crl').number;
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

interface Rules {
  readonly anchors: readonly TrustAnchor[];
  readonly time: number;
}

function pathRules(intermediates: readonly Uint8Array[], { anchors, time }: Rules) {
  return { intermediates, anchors, time, validity: 'enforce', understoodLeafExtensions: [] } as const;
}

/** The intermediate and then the root, as AMD's service gives them. */
function readChain(bytes: Uint8Array, item: CollateralItem): Chain {
  const [intermediate, root, ...more] = splitCertificates(bytes, 'chain');
  if (intermediate === undefined || root === undefined || more.length > 0) {
    throw other(item, 'an intermediate and a root', 'another number of certificates');
  }
  return {
    intermediate: readCertificate(intermediate, 'chain[0]'),
    root: readCertificate(root, 'chain[1]'),
  };
}

type AboveItem = Exclude<CollateralItem, VcekItem>;

async function checkChain({ intermediate, root }: Chain, item: AboveItem, rules: Rules): Promise<void> {
  const expected = [
    item.signer === 'vcek' ? `SEV-${item.line}` : `SEV-VLEK-${item.line}`,
    `ARK-${item.line}`,
  ];
  const found = [intermediate, root].map(commonName);
  if (found.join() !== expected.join()) throw other(item, expected.join(', '), found.join(', '));
  await verifyCertificatePath(intermediate, pathRules([root.encoded], rules));
}

function commonName({ subject }: Certificate): string {
  return nameAttributes(subject, 'chain').get(NameAttribute.commonName) ?? 'no common name';
}

async function checkVcek(item: VcekItem, bytes: Uint8Array, chain: Chain, rules: Rules): Promise<void> {
  const key = readKeyCertificate(bytes, 'vcek');
  const isOfChip =
    key.kind === 'vcek' && key.line === item.line && equalBytes(chipIdOf(key.hardwareId), item.chipId);
  if (!isOfChip)
    throw other(item, `the VCEK of ${item.line} ${chipIdText(item)}`, `one of another ${key.line}`);
  if (TCB_COMPONENTS.some((name) => key.tcb[name] !== item.tcb[name])) {
    throw other(item, tcbText(item.tcb), tcbText(key.tcb));
  }
  const above = [chain.intermediate.encoded, chain.root.encoded];
  await verifyCertificatePath(key.certificate, pathRules(above, rules));
}

function other({ kind }: CollateralItem, expected: string, found: string): Error {
  return collateralCheckRefusals.error('collateral-other', { field: kind, expected, found });
}

function chainMissing(item: CollateralItem): Error {
  return collateralCheckRefusals.error('collateral-chain-missing', {
    field: item.kind,
    expected: `the chain of ${item.line}`,
    found: 'none',
  });
}
