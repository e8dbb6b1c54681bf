/** What is asked for a report, and lists that go back: with a simulated hierarchy, whose lists can be made at will. */

import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';

import { RefusalError } from '../../../attestation/core/refusal.ts';
import { collateralNames } from '../../../attestation/sev-snp/chain.ts';
import { certificatesOfTable } from '../../../attestation/sev-snp/evidence.ts';
import { readReport } from '../../../attestation/sev-snp/layout.ts';
import type { SimulatedAmd } from '../../../src/agent/simulated/sev-snp-authority.ts';
import {
  manufactureSimulatedGuest,
  SimulatedSevGuest,
  type SimulatedMachine,
} from '../../../src/agent/simulated/sev-snp-guest.ts';
import { joinCertificates } from '../../../src/platform/collateral/certificates.ts';
import { DirectoryStore } from '../../../src/platform/collateral/directory-store.ts';
import { KeptCollateral } from '../../../src/platform/collateral/kept-collateral.ts';
import { sevSnpCollateralCheck } from '../../../src/platform/collateral/sev-snp-check.ts';
import {
  gatherSevSnpCollateral,
  sevSnpItems,
  type ClaimedReport,
} from '../../../src/platform/collateral/sev-snp-collateral.ts';
import type { CollateralItem, CollateralSource } from '../../../src/platform/collateral/source.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { simulatedAmd } from '../../support/simulated-amd.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

let amd: SimulatedAmd;
beforeAll(() => {
  amd = simulatedAmd('Milan');
}, 120_000);

const NO_CERTIFICATES = { vcek: undefined, vlek: undefined, intermediate: undefined, ark: undefined };

async function claimed(machine: SimulatedMachine = {}): Promise<ClaimedReport> {
  const folder = await temporaryFolder();
  await manufactureSimulatedGuest(folder, amd, machine);
  const { report, certificateTable } = await (
    await SimulatedSevGuest.open(folder)
  ).report(new Uint8Array(64));
  const certificates =
    machine.withoutCertificates === true ? NO_CERTIFICATES : certificatesOfTable(certificateTable, 'table');
  return { report: readReport(report), certificates };
}

const kindsOf = (report: ClaimedReport): readonly string[] =>
  sevSnpItems(report).map((item) => (item.kind === 'vcek' ? 'vcek' : `${item.signer}-${item.kind}`));

describe('what is asked for a report', () => {
  it('CO-11: only what did not come with it, and the list', async () => {
    expect(kindsOf(await claimed())).toEqual(['vcek-crl']);
    expect(kindsOf(await claimed({ withoutCertificates: true }))).toEqual(['vcek', 'vcek-chain', 'vcek-crl']);
    expect(kindsOf(await claimed({ provider: 'CN=cloud' }))).toEqual(['vlek-crl']);
    const masked = { withoutCertificates: true, report: { chipId: new Uint8Array(64) } };
    expect(kindsOf(await claimed(masked))).toEqual(['vcek-chain', 'vcek-crl']);
  });

  it('CO-11: nothing for a processor that is not known, or levels that none has', async () => {
    const unknown = { family: 0x1a, model: 0x50, stepping: 0 };
    expect(kindsOf(await claimed({ withoutCertificates: true, report: { cpuid: unknown } }))).toEqual([]);
    const reportedTcb = new Uint8Array(8).fill(1);
    expect(kindsOf(await claimed({ withoutCertificates: true, report: { reportedTcb } }))).toEqual([]);
  });

  it('CO-11: answers stand under the names by which the verifier looks them up, failures beside them', async () => {
    const report = await claimed({ withoutCertificates: true });
    const chain = [amd.intermediate('vcek'), amd.root];
    const facts = { field: 'kds', expected: 'an answer', found: 'none', hint: '' };
    const source: CollateralSource = {
      find: (item) => {
        if (item.kind === 'crl')
          return Promise.reject(new RefusalError('unavailable', { code: 'kds-timeout', ...facts }));
        return Promise.resolve(item.kind === 'chain' ? joinCertificates(chain) : Uint8Array.of(1));
      },
    };
    const { collateral, failures } = await gatherSevSnpCollateral(source, report);
    expect(collateral).toEqual(
      new Map([
        [collateralNames.vcek(report.report), Uint8Array.of(1)],
        [collateralNames.intermediate('Milan', 'vcek'), amd.intermediate('vcek')],
        [collateralNames.ark('Milan'), amd.root],
      ]),
    );
    expect(failures.map(({ code }) => code)).toEqual(['kds-timeout']);
  });
});

describe('revocation lists', () => {
  it('CO-10: never go back', async () => {
    const store = new DirectoryStore(join(await temporaryFolder(), 'collateral'));
    const anchors = [{ name: 'simulated', certificate: amd.root, simulated: true }];
    const kept = new KeptCollateral({ store, check: sevSnpCollateralCheck(anchors) });
    const chain: CollateralItem = { kind: 'chain', line: 'Milan', signer: 'vcek' };
    const item: CollateralItem = { ...chain, kind: 'crl' };
    await kept.keep(chain, joinCertificates([amd.intermediate('vcek'), amd.root]));
    const [old, current] = [5, 6].map((number) => amd.revocationList({ number }));
    if (old === undefined || current === undefined) throw new Error('no lists');
    await kept.keep(item, current);
    expect(await refusalCodeAsync(() => kept.keep(item, old))).toBe('collateral-older');
    expect(await kept.find(item)).toEqual(current);
    await kept.keep(item, current);
    await kept.keep(item, amd.revocationList({ number: 7 }));
  });
});
