/** What the checks of an appraisal tell a person, whether they pass or fail, and the edges of their rules. */

import { describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import { Checklist } from '../../../attestation/core/verdict.ts';
import type { Check } from '../../../attestation/core/verdict.ts';
import { appraiseFirmware } from '../../../attestation/sev-snp/appraise-firmware.ts';
import { appraiseGuest } from '../../../attestation/sev-snp/appraise-guest.ts';
import { appraisePlatform } from '../../../attestation/sev-snp/appraise-platform.ts';
import type { AuthenticReport } from '../../../attestation/sev-snp/authenticate.ts';
import { readPolicy, readReferenceValues } from '../../../attestation/sev-snp/documents.ts';
import type { LaunchReference } from '../../../attestation/sev-snp/documents.ts';
import type { KeyFacts } from '../../../attestation/sev-snp/key-certificate.ts';
import type { AttestationReport } from '../../../attestation/sev-snp/layout.ts';
import { mergeMinima } from '../../../attestation/sev-snp/minimum-tcb.ts';
import { tcbText } from '../../../attestation/sev-snp/tcb.ts';
import { CHIP, CSP_ID, LAUNCH, MILAN_REPORT, MILAN_TCB, NOW, POLICY } from './lookalike.ts';
import type { Document } from './lookalike.ts';

/** In the place of certificates and anchors: appraisal looks at facts alone. */
const unseen = undefined as never;

const FACTS = {
  certificate: unseen,
  line: 'Milan',
  productName: 'Milan-B0',
  encoding: 'milan',
  tcb: MILAN_TCB,
} as const;
const vcek: KeyFacts = { ...FACTS, kind: 'vcek', hardwareId: CHIP };
const vlek: KeyFacts = { ...FACTS, kind: 'vlek', cspId: CSP_ID };
const chainOf = (key: KeyFacts): Partial<AuthenticReport> => ({
  chain: { key, intermediate: unseen, ark: unseen, anchor: unseen },
});

const REPORT: AttestationReport = { ...MILAN_REPORT, reportData: new Uint8Array(64).fill(1) };
const TCBS = { reported: MILAN_TCB, committed: MILAN_TCB, launch: MILAN_TCB, current: MILAN_TCB };
const GOOD = {
  report: REPORT,
  ...chainOf(vcek),
  revocation: { number: 2, thisUpdate: NOW - 86_400 },
  tcb: TCBS,
  isChipMasked: false,
  identity: new Uint8Array(32),
} as AuthenticReport;

const guest = (changes: Partial<AttestationReport>): Partial<AuthenticReport> => ({
  report: { ...REPORT, ...changes },
});
const guestPolicy = (changes: Partial<AttestationReport['policy']>): Partial<AuthenticReport> =>
  guest({ policy: { ...REPORT.policy, ...changes } });
const platformInfo = (changes: Partial<AttestationReport['platformInfo']>): Partial<AuthenticReport> =>
  guest({ platformInfo: { ...REPORT.platformInfo, ...changes } });
const within = (member: string, changes: Document): Document => ({
  [member]: { ...(POLICY[member] as Document), ...changes },
});

/** All checks of an appraisal in which something is another than in a good one. */
function appraised(authentic: Partial<AuthenticReport>, rules: Document): readonly Check[] {
  const checks = new Checklist();
  const policy = readPolicy({ ...POLICY, ...rules });
  const all = { ...GOOD, ...authentic };
  appraisePlatform(all, policy, NOW, checks);
  appraiseFirmware(all, policy, mergeMinima([], [], policy.minimumTcb.processors), checks);
  appraiseGuest(all.report, policy, [readReferenceValues(LAUNCH) as LaunchReference], checks);
  return checks.checks;
}

function failedIds(authentic: Partial<AuthenticReport>, rules: Document = {}): readonly string[] {
  return appraised(authentic, rules).flatMap(({ id, outcome }) => (outcome === 'failed' ? [id] : []));
}

type Row = readonly [
  id: string,
  what: string,
  authentic: Partial<AuthenticReport>,
  rules: Document,
  shown: { readonly outcome: 'passed' | 'failed'; readonly expected?: unknown; readonly found?: unknown },
];
const passed = 'passed';
const failed = 'failed';
const containing = (text: string): unknown => expect.stringContaining(text);
const lacking = (text: string): unknown => expect.not.stringContaining(text);

function shows(rows: readonly Row[]): void {
  it.each(rows)('%s: %s', (id, _what, authentic, rules, shown) => {
    expect(appraised(authentic, rules).filter((check) => check.id === id)).toMatchObject([shown]);
  });
}

describe('a good report', () => {
  it('EV-4: passes checks each of which says what it looked at', () => {
    const checks = appraised({}, {});
    expect(failedIds({})).toEqual([]);
    expect(new Set(checks.map(({ id }) => id)).size).toBe(checks.length);
    for (const { id, field, expected, found } of checks) {
      expect([id, typeof field, typeof expected, typeof found]).toEqual([id, 'string', 'string', 'string']);
      expect([id, field !== '', expected !== '', found !== '']).toEqual([id, true, true, true]);
    }
  });
});

describe('what a check of the firmware shows', () => {
  const reported = { ...TCBS, reported: { ...MILAN_TCB, tee: 1 } };
  const both = { ...reported, committed: { ...MILAN_TCB, snp: 28 } };
  const strict = within('mitigations', { launch: '0000000000000004', current: '0000000000000008' });
  const vectors = guest({ mitigations: { launch: 3n, current: 7n } });
  shows([
    ['snp-tcb-order', 'the running TCB', {}, {}, { outcome: passed, found: tcbText(MILAN_TCB) }],
    [
      'snp-tcb-order',
      'the TCB that is above it',
      { tcb: reported },
      {},
      { outcome: failed, found: containing('reported') },
    ],
    [
      'snp-tcb-order',
      'both of them',
      { tcb: both },
      {},
      { outcome: failed, found: expect.stringMatching(/reported.*committed/) },
    ],
    [
      'snp-minimum-missing',
      'that there is a minimum',
      {},
      {},
      { outcome: passed, expected: containing('19-01-01'), found: lacking('none') },
    ],
    [
      'snp-minimum-missing',
      'of how many none is for the processor',
      guest({ cpuid: { family: 0x19, model: 0xa0, stepping: 2 } }),
      {},
      { outcome: failed, expected: containing('19-a0-02'), found: containing('none among 2') },
    ],
    [
      'snp-mitigations',
      'the vectors of the report',
      vectors,
      strict,
      {
        outcome: failed,
        expected: expect.stringMatching(/0x4\b.*0x8\b/),
        found: expect.stringMatching(/0x3\b.*0x7\b/),
      },
    ],
    [
      'snp-mitigations',
      'that a report before version 5 has none',
      {},
      {},
      { outcome: passed, found: lacking('0x0') },
    ],
  ]);
});

describe('what a check of the platform shows', () => {
  const chips = (changes: Document): Document => within('chips', changes);
  const bits = (changes: Document): Document => within('platformInfo', changes);
  shows([
    [
      'snp-csp-denied',
      'the providers that are accepted',
      chainOf(vlek),
      { cspIds: ['CN=one.example', 'CN=two.example'] },
      { outcome: failed, expected: expect.stringMatching(/one\.example.*two\.example/), found: CSP_ID },
    ],
    [
      'snp-csp-denied',
      'that none is accepted',
      chainOf(vlek),
      { cspIds: [] },
      { outcome: failed, expected: containing('no provider') },
    ],
    [
      'snp-chip-denied',
      'how many chips are denied',
      {},
      chips({ denied: [toHex(CHIP)] }),
      { outcome: failed, expected: containing('1 denied'), found: toHex(CHIP) },
    ],
    [
      'snp-chip-denied',
      'how many chips are accepted',
      {},
      chips({ allowed: ['11'.repeat(64), '22'.repeat(64)] }),
      { outcome: failed, expected: containing('2 accepted'), found: toHex(CHIP) },
    ],
    [
      'snp-chip-denied',
      'that a provider’s key names no chip',
      chainOf(vlek),
      {},
      { outcome: passed, found: containing('no chip') },
    ],
    [
      'snp-platform-required',
      'what is required and what of it is missing',
      platformInfo({ eccEn: false }),
      {},
      { outcome: failed, expected: 'aliasCheckComplete, eccEn', found: 'not eccEn' },
    ],
    [
      'snp-platform-required',
      'that nothing is required',
      {},
      bits({ required: [] }),
      { outcome: passed, expected: containing('nothing'), found: lacking('not') },
    ],
    [
      'snp-platform-forbidden',
      'what is forbidden and what of it is on',
      platformInfo({ tioEn: true }),
      bits({ forbidden: ['tsmeEn', 'tioEn'] }),
      { outcome: failed, expected: containing('tsmeEn, tioEn'), found: 'tioEn' },
    ],
    [
      'snp-platform-forbidden',
      'that nothing is forbidden',
      {},
      bits({ forbidden: [] }),
      { outcome: passed, expected: 'anything', found: containing('none') },
    ],
    ['snp-revocation-missing', 'the number of the list', {}, {}, { outcome: passed, found: containing('2') }],
    [
      'snp-revocation-missing',
      'whose list is missing',
      { revocation: undefined },
      {},
      { outcome: failed, expected: containing('ARK-Milan'), found: 'none' },
    ],
  ]);
});

describe('what a check of the guest shows', () => {
  const digests = ['11', '22', '33', '44', '55'].map((byte) => byte.repeat(32));
  const four = digests.slice(0, 4).join(' or ');
  const rules = (changes: Document): Document => within('guestPolicy', changes);
  const author = new Uint8Array(48).fill(3);
  shows([
    ['snp-host-data', 'that it may be any', {}, { hostData: 'any' }, { outcome: passed, expected: 'any' }],
    [
      'snp-host-data',
      'up to four values',
      {},
      { hostData: digests.slice(0, 4) },
      { outcome: failed, expected: four, found: '00'.repeat(32) },
    ],
    [
      'snp-host-data',
      'how many more there are',
      {},
      { hostData: digests },
      { outcome: failed, expected: `${four} or one of 1 more` },
    ],
    [
      'snp-migration-agent',
      'that none is accepted',
      {},
      {},
      { outcome: passed, expected: expect.stringMatching(/migrate$/) },
    ],
    [
      'snp-migration-agent',
      'the agents that are accepted',
      guest({ reportIdMa: new Uint8Array(32).fill(0x33) }),
      { migrationAgents: digests.slice(0, 2) },
      {
        outcome: failed,
        expected: containing(digests.slice(0, 2).join(' or ')),
        found: containing(digests[2] ?? ''),
      },
    ],
    ['snp-host-requested', 'the level of the guest', {}, {}, { outcome: passed, found: '0' }],
    [
      'snp-host-requested',
      'that the host asked',
      guest({ vmpl: 0xffffffff }),
      {},
      { outcome: failed, found: containing('host') },
    ],
    [
      'snp-guest-policy-required',
      'what is required and what of it is missing',
      guestPolicy({ singleSocket: true }),
      rules({ required: ['singleSocket', 'raplDis'] }),
      { outcome: failed, expected: 'singleSocket, raplDis', found: 'not raplDis' },
    ],
    [
      'snp-guest-policy-required',
      'that nothing is required',
      {},
      {},
      { outcome: passed, expected: containing('nothing'), found: lacking('not') },
    ],
    [
      'snp-guest-policy-forbidden',
      'what is forbidden and what of it is granted',
      guestPolicy({ cxlAllow: true, smtAllowed: false }),
      rules({ forbidden: ['smtAllowed', 'cxlAllow'] }),
      { outcome: failed, expected: containing('smtAllowed, cxlAllow'), found: 'cxlAllow' },
    ],
    [
      'snp-guest-policy-forbidden',
      'that nothing is forbidden',
      {},
      rules({ forbidden: [] }),
      { outcome: passed, expected: 'anything', found: containing('none') },
    ],
    [
      'snp-author-key-flag',
      'that a digest needs the flag',
      guest({ authorKeyDigest: author }),
      {},
      { outcome: failed, expected: 'true', found: 'false' },
    ],
    [
      'snp-author-key-flag',
      'that no digest needs none',
      {},
      {},
      { outcome: passed, expected: 'false', found: 'false' },
    ],
  ]);
});

describe('the rules for guests', () => {
  it('SN-39: there is no migration agent only where every byte of its id says so', () => {
    for (const place of [0, 15, 31]) {
      const reportIdMa = new Uint8Array(32).fill(0xff).with(place, 0xfe);
      expect(failedIds(guest({ reportIdMa }))).toEqual(['snp-migration-agent']);
    }
    const reportIdMa = new Uint8Array(32).with(3, 0xff);
    expect(failedIds(guest({ reportIdMa }))).toEqual(['snp-migration-agent']);
  });

  it('SN-47: minor versions of the ABI are compared only within the same major one', () => {
    const minimum = within('guestPolicy', { minimumAbi: { major: 2, minor: 5 } });
    const ids = (abiMajor: number, abiMinor: number) =>
      failedIds(guestPolicy({ abiMajor, abiMinor }), minimum);
    expect(ids(2, 5)).toEqual([]);
    expect(ids(3, 0)).toEqual([]);
    expect(ids(2, 4)).toEqual(['snp-guest-abi']);
    expect(ids(1, 9)).toEqual(['snp-guest-abi']);
  });
});
