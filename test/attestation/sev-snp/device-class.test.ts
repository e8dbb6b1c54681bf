import { generateKeyPairSync } from 'node:crypto';

import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { p384 } from '@noble/curves/nist.js';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { concatBytes, fromHex, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { isTrusted } from '../../../attestation/core/trusted.ts';
import { sevSnpDeviceClass } from '../../../attestation/sev-snp/device-class.ts';
import { readPolicy } from '../../../attestation/sev-snp/documents.ts';
import { readSevSnpEvidence, writeSevSnpEvidence } from '../../../attestation/sev-snp/evidence.ts';
import { chipIdentity, guestIdentity } from '../../../attestation/sev-snp/identity.ts';
import { readReport, REPORT_BYTES, SIGNED_BYTES, writeReport } from '../../../attestation/sev-snp/layout.ts';
import type { AttestationReport } from '../../../attestation/sev-snp/layout.ts';
import { computeReportData } from '../../../attestation/sev-snp/report-data.ts';
import { writeTcb } from '../../../attestation/sev-snp/tcb.ts';
import { verifySevSnpReport } from '../../../attestation/sev-snp/verify.ts';
import { countOutcomes, flippedBytes } from '../../support/flipped-bytes.ts';
import { refusalCode, refusalCodeAsync, refusalOf, verdictCodes } from '../../support/refusal-code.ts';
import {
  CHIP,
  CSP_ID,
  evidenceOf,
  LAUNCH,
  makeChain,
  makeKeys,
  makeList,
  MILAN_REPORT,
  MILAN_TCB,
  NOW,
  pin,
  POLICY,
  REPORT_ID,
  signReport,
  TURIN_CHIP,
  TURIN_REPORT,
  TURIN_TCB,
} from './lookalike.ts';
import type { Chain, Document, Keys } from './lookalike.ts';

const DEVICE_VALUE = sha256(Uint8Array.of(1));
const REPORT_DATA = computeReportData({ deviceValue: DEVICE_VALUE, companionsDigest: NO_COMPANIONS });

let keys: Keys;
let milan: Chain;
let turin: Chain;
let provider: Chain;
let collateral: ReadonlyMap<string, Uint8Array>;
let good: Uint8Array;

beforeAll(() => {
  keys = makeKeys();
  milan = makeChain(keys);
  turin = makeChain(keys, { line: 'Turin' });
  provider = makeChain(keys, { kind: 'vlek' });
  collateral = new Map([
    ['crl/Milan', makeList(milan, keys.ark)],
    ['crl/Turin', makeList(turin, keys.ark)],
  ]);
  good = signed();
}, 120_000);

type Report = Partial<AttestationReport>;

function signed(changes: Report = {}, base: AttestationReport = MILAN_REPORT): Uint8Array {
  return signReport({ ...base, reportData: REPORT_DATA, ...changes }, keys.chip);
}

function inputs(changes: Partial<DeviceInputs> = {}): DeviceInputs {
  return {
    expectedDeviceValue: DEVICE_VALUE,
    companionsDigest: NO_COMPANIONS,
    lab: 'lab-one',
    time: NOW,
    anchors: [pin(milan)],
    collateral,
    enrolment: undefined,
    referenceValues: [LAUNCH],
    policy: POLICY,
    ...changes,
  };
}

const policy = (changes: Document): Document => ({ ...POLICY, ...changes });
const within = (member: string, changes: Document): Document =>
  policy({ [member]: { ...(POLICY[member] as Document), ...changes } });

/** The codes of all refusals, or `accepted`. */
async function codes(
  report: Uint8Array,
  changes: Partial<DeviceInputs> = {},
  chain: Partial<Chain> = milan,
  kind: 'vcek' | 'vlek' = 'vcek',
): Promise<readonly string[]> {
  const parsed = sevSnpDeviceClass.parse(evidenceOf(report, chain, kind), 'evidence');
  return verdictCodes(await sevSnpDeviceClass.verify(parsed, inputs(changes)));
}

/** What comes of a report with changes under the policy with changes. */
const judged = (report: Report, rules: Document = POLICY): Promise<readonly string[]> =>
  codes(signed(report), { policy: rules });

const zeros = (length: number): Uint8Array => new Uint8Array(length);
const guestPolicy = (changes: Partial<AttestationReport['policy']>): Report => ({
  policy: { ...MILAN_REPORT.policy, ...changes },
});
const platform = (changes: Partial<AttestationReport['platformInfo']>): Report => ({
  platformInfo: { ...MILAN_REPORT.platformInfo, ...changes },
});

describe('good evidence', () => {
  it('EV-4, W10: gives the same trusted claims each time, and the checks behind them', async () => {
    const parsed = sevSnpDeviceClass.parse(evidenceOf(good, milan), 'evidence');
    const [first, second] = await Promise.all([
      sevSnpDeviceClass.verify(parsed, inputs()),
      sevSnpDeviceClass.verify(parsed, inputs()),
    ]);
    expect(first).toEqual(second);
    if (first.outcome !== 'accepted') throw new Error('refused');
    expect(isTrusted(first.claims)).toBe(true);
    expect(first.claims.identity).toBe(toHex(sevSnpDeviceClass.identify(parsed)));
    expect(first.claims).toMatchObject({
      class: 'sev-snp',
      lab: 'lab-one',
      simulated: true,
      anchor: 'lookalike',
      productLine: 'Milan',
      processor: '19-01-01',
      reportVersion: 3,
      signingKey: 'vcek',
      hardwareId: toHex(CHIP),
      cspId: null,
      vmpl: 0,
      reportData: toHex(REPORT_DATA),
      referenceValues: 'test image',
      reportDigest: toHex(sha384(good.subarray(0, SIGNED_BYTES))),
      migrationAgent: null,
      tcb: { reported: { fmc: null, bootLoader: 4, tee: 0, snp: 27, microcode: 0xde } },
      firmware: { committed: '1.55.40', current: '1.55.40' },
      mitigations: null,
      revocationList: { number: 2, thisUpdate: NOW - 86_400 },
    });
    expect(first.checks.every(({ outcome, protects }) => outcome === 'passed' && protects !== '')).toBe(true);
    expect(first.checks.map(({ id }) => id)).toContain('snp-report-data');
  });

  it('SN-57: claims can be logged', async () => {
    const parsed = sevSnpDeviceClass.parse(evidenceOf(signed({}, TURIN_REPORT), turin), 'evidence');
    const verdict = await sevSnpDeviceClass.verify(parsed, inputs({ anchors: [pin(turin, false)] }));
    if (verdict.outcome !== 'accepted') throw new Error(JSON.stringify(verdict.refusals));
    expect(verdict.claims).toMatchObject({
      simulated: false,
      productLine: 'Turin',
      hardwareId: toHex(TURIN_CHIP),
      platformInfo: { unknownBits: '0000000000000040' },
      mitigations: { launch: '0000000000000003', current: '0000000000000007' },
      tcb: { launch: { fmc: 1 } },
    });
    expect(encodeCanonicalJson({ ...verdict.claims }).length).toBeLessThan(8192);
  });

  it('SN-57: claims name the provider and the migration agent', async () => {
    const agent = zeros(32).fill(0xff, 16);
    const fleet = { chipId: zeros(64), keyInfo: { ...MILAN_REPORT.keyInfo, signingKey: 1 } };
    const report = signed({ ...fleet, ...guestPolicy({ migrateMa: true }), reportIdMa: agent });
    const rules = policy({ signingKeys: ['vlek'], migrationAgents: [toHex(agent)] });
    const parsed = sevSnpDeviceClass.parse(evidenceOf(report, provider, 'vlek'), 'evidence');
    expect(await sevSnpDeviceClass.verify(parsed, inputs({ policy: rules }))).toMatchObject({
      outcome: 'accepted',
      claims: {
        signingKey: 'vlek',
        hardwareId: null,
        chipMasked: true,
        cspId: CSP_ID,
        migrationAgent: toHex(agent),
      },
    });
  });
});

describe('evidence', () => {
  it('SN-8: has a report and a certificate table and nothing else', () => {
    const evidence = evidenceOf(good, milan);
    const code = (changed: JsonValue): string => refusalCode(() => readSevSnpEvidence(changed, 'evidence'));
    expect(code(evidence)).toBe('accepted');
    expect(code({ ...evidence, note: '' })).toBe('shape-member');
    expect(code({ report: evidence['report']! })).toBe('shape-member');
    expect(code({})).toBe('shape-member');
    expect(code([])).toBe('shape-value');
    expect(code({ ...evidence, report: `${evidence['report'] as string}AAAA` })).toBe('shape-value');
    expect(code({ ...evidence, report: toBase64(good.subarray(1)) })).toBe('snp-report-size');
    expect(code({ ...evidence, report: 'A' })).toBe('base64-malformed');
    expect(code({ ...evidence, certificateTable: 'A'.repeat(100_000) })).toBe('shape-value');
    expect(code(writeSevSnpEvidence(good, zeros(0)))).toBe('accepted');
  });

  it('SN-9: names a chip by the report, or by its certificate where the report hides it', () => {
    const identity = (report: Uint8Array, chain: Partial<Chain>, kind: 'vcek' | 'vlek' = 'vcek'): string =>
      toHex(sevSnpDeviceClass.identify(sevSnpDeviceClass.parse(evidenceOf(report, chain, kind), 'evidence')));
    const chip = toHex(chipIdentity(CHIP));
    expect(chip).toBe(toHex(sha256(concatBytes(labelled('weightgate/sev-snp/chip/v1'), CHIP))));
    expect(identity(good, {})).toBe(chip);
    expect(identity(signed({ chipId: zeros(64) }), milan)).toBe(chip);
    expect(identity(signed({}, TURIN_REPORT), {})).toBe(
      toHex(chipIdentity(concatBytes(TURIN_CHIP, zeros(56)))),
    );
    const guest = toHex(guestIdentity(CSP_ID, REPORT_ID));
    expect(guest).toBe(
      toHex(
        sha256(concatBytes(labelled('weightgate/sev-snp/guest/v1'), sha256(Buffer.from(CSP_ID)), REPORT_ID)),
      ),
    );
    const fleet = { chipId: zeros(64), keyInfo: { ...MILAN_REPORT.keyInfo, signingKey: 1 } };
    expect(identity(signed(fleet), provider, 'vlek')).toBe(guest);
    expect(refusalCode(() => identity(signed(fleet), {}))).toBe('snp-evidence-unnamed');
    expect(refusalCode(() => identity(signed({ chipId: zeros(64) }), {}))).toBe('snp-evidence-unnamed');
  });

  it('SN-10: binds the device value under a label of its own', () => {
    expect(REPORT_DATA).toEqual(
      sha512(concatBytes(labelled('weightgate/report-data/v2'), DEVICE_VALUE, NO_COMPANIONS)),
    );
    const purpose = { deviceValue: DEVICE_VALUE, companionsDigest: NO_COMPANIONS };
    for (const short of [{ deviceValue: zeros(31) }, { companionsDigest: zeros(31) }]) {
      expect(refusalCode(() => computeReportData({ ...purpose, ...short }))).toBe('layout-value');
    }
  });
});

function labelled(label: string): Uint8Array {
  return concatBytes(Buffer.from(label), zeros(32 - label.length));
}

describe('authenticity', () => {
  const order = p384.Point.Fn.ORDER;
  const number = (value: bigint): Uint8Array =>
    fromHex(value.toString(16).padStart(96, '0'), 'number').toReversed();
  const withSignature = (
    change: (s: { r: Uint8Array; s: Uint8Array }) => Report['signature'],
  ): Uint8Array => {
    const report = readReport(good);
    return writeReport({ ...report, signature: change(report.signature)! });
  };

  it('SN-27: knows one signature algorithm', async () => {
    for (const signatureAlgo of [0, 2, 0xffffffff]) {
      expect(await judged({ signatureAlgo })).toEqual(['snp-signature-algorithm']);
    }
  });

  it('SN-28: refuses unsigned reports and unknown keys', async () => {
    for (const signingKey of [2, 3, 4, 5, 6, 7]) {
      expect(await judged({ keyInfo: { ...MILAN_REPORT.keyInfo, signingKey } })).toEqual(['snp-signing-key']);
    }
    const masked = { keyInfo: { ...MILAN_REPORT.keyInfo, maskChipKey: true } };
    expect(await judged(masked)).toEqual(['snp-chip-key-masked']);
  });

  it('SN-28: needs the certificate of the kind of key that the report names', async () => {
    const fleet = { keyInfo: { ...MILAN_REPORT.keyInfo, signingKey: 1 } };
    expect(await judged(fleet)).toEqual(['snp-certificate-missing']);
    expect(await codes(signed(fleet), {}, milan, 'vlek')).toEqual(['snp-certificate-kind']);
    expect(await codes(good, {}, provider, 'vlek')).toEqual(['snp-certificate-missing']);
  });

  it('SN-29: refuses r and s outside of their range', async () => {
    for (const value of [0n, order, order + 1n, (1n << 384n) - 1n]) {
      expect(await codes(withSignature(({ s }) => ({ r: number(value), s })))).toEqual([
        'snp-signature-range',
      ]);
      expect(await codes(withSignature(({ r }) => ({ r, s: number(value) })))).toEqual([
        'snp-signature-range',
      ]);
    }
    expect(await codes(withSignature(({ s }) => ({ r: number(1n), s })))).toEqual(['snp-signature']);
  });

  it('SN-30: accepts the rewritten form of a signature, and names the report by what is signed', async () => {
    const rewritten = withSignature(({ r, s }) => ({
      r,
      s: number(order - BigInt(`0x${toHex(s.toReversed())}`)),
    }));
    expect(toHex(rewritten)).not.toBe(toHex(good));
    expect(await codes(rewritten)).toEqual(['accepted']);
    expect(rewritten.subarray(0, SIGNED_BYTES)).toEqual(good.subarray(0, SIGNED_BYTES));
  });

  it('SN-30: refuses swapped and big-endian r and s, and another key', async () => {
    const refused = ['snp-signature'];
    expect(await codes(withSignature(({ r, s }) => ({ r: s, s: r })))).toEqual(refused);
    const reversed = withSignature(({ r, s }) => ({ r: r.toReversed(), s: s.toReversed() }));
    expect(['snp-signature', 'snp-signature-range']).toContain((await codes(reversed))[0]);
    const chip = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
    const other = makeChain({ ...keys, chip });
    expect(await codes(good, {}, other)).toEqual(refused);
  });

  it('SN-30: refuses every report with one byte changed', async () => {
    const outcomesByCode: string[] = [];
    const outcomes = await countOutcomes(flippedBytes(good), async (report) => {
      const [code = ''] = await codes(report);
      outcomesByCode.push(code);
    });
    expect([...outcomes.values()].reduce((sum, count) => sum + count, 0)).toBe(REPORT_BYTES);
    expect(outcomesByCode).not.toContain('accepted');
    expect(outcomesByCode.filter((code) => code === 'snp-signature').length).toBeGreaterThan(500);
  });

  it('SN-31: needs the levels of the certificate in REPORTED_TCB', async () => {
    for (const component of ['bootLoader', 'tee', 'snp', 'microcode'] as const) {
      for (const step of [1, -1]) {
        const level = MILAN_TCB[component] + step;
        if (level < 0) continue;
        const reportedTcb = writeTcb('milan', { ...MILAN_TCB, [component]: level });
        expect(await judged({ reportedTcb, currentTcb: reportedTcb })).toEqual(['snp-tcb-certificate']);
      }
    }
    const fmc = writeTcb('turin', { ...TURIN_TCB, fmc: 2 });
    const given = { anchors: [pin(turin)] };
    expect(await codes(signed({ reportedTcb: fmc }, TURIN_REPORT), given, turin)).toEqual([
      'snp-tcb-certificate',
    ]);
  });

  it('SN-5: reads TCBs by the encoding of the product', async () => {
    const old = writeTcb('milan', MILAN_TCB);
    const given = { anchors: [pin(turin)] };
    expect(await codes(signed({ currentTcb: old }, TURIN_REPORT), given, turin)).toEqual(['layout-reserved']);
    expect(await judged({ committedTcb: writeTcb('turin', TURIN_TCB) })).toEqual(['layout-reserved']);
  });

  it('SN-7: refuses processors that are not known and certificates of another line', async () => {
    expect(await judged({ cpuid: { family: 0x19, model: 0x50, stepping: 0 } })).toEqual([
      'snp-product-unknown',
    ]);
    expect(await judged({ cpuid: { family: 0x19, model: 0xa0, stepping: 2 } })).toEqual([
      'snp-product-mismatch',
    ]);
  });

  it('SN-32: needs the chip of the certificate in all 64 bytes', async () => {
    const other = CHIP.slice();
    other[63] = 1;
    expect(await judged({ chipId: other })).toEqual(['snp-chip-id']);
    const given = { anchors: [pin(turin)] };
    const tail = concatBytes(TURIN_CHIP, Uint8Array.of(1), zeros(55));
    expect(await codes(signed({ chipId: tail }, TURIN_REPORT), given, turin)).toEqual(['snp-chip-id']);
    const fleet = { chipId: CHIP, keyInfo: { ...MILAN_REPORT.keyInfo, signingKey: 1 } };
    expect(await codes(signed(fleet), {}, provider, 'vlek')).toEqual(['snp-chip-id']);
  });

  it('SN-33: needs the REPORT_DATA of this request, whole', async () => {
    for (const at of [0, 31, 32, 63]) {
      const reportData = REPORT_DATA.slice();
      reportData[at] = reportData[at]! ^ 1;
      expect(await judged({ reportData })).toEqual(['snp-report-data']);
    }
    expect(await codes(good, { expectedDeviceValue: zeros(32) })).toEqual(['snp-report-data']);
    expect(await codes(good, { companionsDigest: zeros(32) })).toEqual(['snp-report-data']);
    const reportData = concatBytes(DEVICE_VALUE, zeros(32));
    expect(await judged({ reportData })).toEqual(['snp-report-data']);
  });

  it('SN-34: needs the enrolment that the policy demands, and never accepts that of another lab', async () => {
    const record = (changes: Document = {}): Document => ({
      version: 1,
      class: 'sev-snp',
      lab: 'lab-one',
      identity: toHex(chipIdentity(CHIP)),
      ...changes,
    });
    const required = policy({ enrolment: 'required' });
    expect(await codes(good, { policy: required })).toEqual(['snp-not-enrolled']);
    expect(await codes(good, { policy: required, enrolment: record() })).toEqual(['accepted']);
    const shown = async (given: Partial<DeviceInputs>) => {
      const parsed = sevSnpDeviceClass.parse(evidenceOf(good, milan), 'evidence');
      const { checks } = await sevSnpDeviceClass.verify(parsed, inputs({ policy: required, ...given }));
      return checks.find(({ id }) => id === 'snp-not-enrolled')?.found;
    };
    expect(await shown({})).toContain(toHex(chipIdentity(CHIP)));
    expect(await shown({ enrolment: record() })).toBe('one');
    for (const rules of [required, POLICY]) {
      const given = (enrolment: Document) => ({ policy: rules, enrolment });
      expect(await codes(good, given(record({ lab: 'lab-two' })))).toEqual(['snp-other-lab']);
      const identity = '11'.repeat(32);
      expect(await codes(good, given(record({ identity })))).toEqual(['snp-other-machine']);
      expect(await codes(good, given(record({ note: '' })))).toEqual(['shape-member']);
    }
  });
});

describe('floors', () => {
  it('SN-35: refuses guests that may be debugged', async () => {
    expect(await judged(guestPolicy({ debug: true }))).toEqual(['snp-debug']);
  });

  it('SN-36: refuses guest policies with other rules', async () => {
    expect(await judged(guestPolicy({ reserved17: false }))).toEqual(['snp-policy-reserved']);
    for (const bit of [26n, 40n, 63n]) {
      expect(await judged(guestPolicy({ unknownBits: 1n << bit }))).toEqual(['snp-policy-unknown-bits']);
    }
  });

  it('SN-37: refuses reports that the host asked for, and levels that do not exist', async () => {
    expect(await judged({ vmpl: 0xffffffff })).toEqual(['snp-host-requested']);
    expect(await judged({ vmpl: 4 })).toEqual(['snp-vmpl']);
    expect(await codes(good, { policy: policy({ vmpls: [4] }) })).toEqual(['shape-value']);
  });

  it('SN-38: refuses REPORT_DATA of zeros even where it is expected', async () => {
    const report = signed({ reportData: zeros(64) });
    const verdict = await verifySevSnpReport(question(report, zeros(64)));
    expect(verdict).toMatchObject({ outcome: 'refused', refusals: [{ code: 'snp-report-data-zero' }] });
  });

  it('SN-39: refuses migration agents that the policy does not name', async () => {
    const agent = zeros(32).fill(0x33);
    expect(await judged({ reportIdMa: agent })).toEqual(['snp-migration-agent']);
    expect(await judged(guestPolicy({ migrateMa: true }))).toEqual(['snp-migration-agent']);
    const both = { reportIdMa: agent, ...guestPolicy({ migrateMa: true }) };
    expect(await judged(both)).toEqual(['snp-migration-agent']);
    const named = policy({ migrationAgents: [toHex(agent)] });
    expect(await judged(both, named)).toEqual(['accepted']);
    expect(await judged(guestPolicy({ migrateMa: true }), named)).toEqual(['snp-migration-agent']);
    expect(await judged({ reportIdMa: zeros(32) }, named)).toEqual(['snp-migration-agent']);
  });

  it('SN-40: needs the author key flag and digest together', async () => {
    const open = policy({ authorKeyDigests: 'any' });
    const authorKeyDigest = zeros(48).fill(1);
    const keyInfo = { ...MILAN_REPORT.keyInfo, authorKeyEn: true };
    expect(await judged({ authorKeyDigest }, open)).toEqual(['snp-author-key-flag']);
    expect(await judged({ keyInfo }, open)).toEqual(['snp-author-key-flag']);
    expect(await judged({ keyInfo, authorKeyDigest }, open)).toEqual(['accepted']);
  });

  it('SN-41: refuses reported and committed TCBs above the running one', async () => {
    const provisional = policy({ allowProvisionalFirmware: true });
    const above = writeTcb('milan', { ...MILAN_TCB, tee: 1 });
    expect(await judged({ committedTcb: above }, provisional)).toEqual(['snp-tcb-order']);
    const below = writeTcb('milan', { ...MILAN_TCB, bootLoader: 3 });
    expect(await judged({ currentTcb: below }, provisional)).toEqual([
      'snp-tcb-order',
      'snp-current-tcb-minimum',
    ]);
  });

  it('SN-42: needs one of the launch measurements', async () => {
    expect(await codes(good, { referenceValues: [] })).toEqual(['snp-measurement-missing']);
    const other = { ...LAUNCH, measurement: '11'.repeat(48) };
    expect(await codes(good, { referenceValues: [other] })).toEqual(['snp-measurement']);
    expect(await codes(good, { referenceValues: [other, LAUNCH] })).toEqual(['accepted']);
  });
});

describe('the policy', () => {
  it('SN-43: has all members and no others', async () => {
    for (const member of Object.keys(POLICY)) {
      const { [member]: _, ...rest } = POLICY;
      expect([member, ...(await codes(good, { policy: rest }))]).toEqual([member, 'shape-member']);
    }
    expect(await codes(good, { policy: policy({ note: '' }) })).toEqual(['shape-member']);
    expect(await codes(good, { policy: policy({ version: 2 }) })).toEqual(['shape-value']);
    for (const open of ['idKeyDigests', 'hostData', 'familyIds']) {
      expect(await codes(good, { policy: policy({ [open]: [] }) })).toEqual(['shape-value']);
    }
  });

  it('SN-44: contradicts itself nowhere', async () => {
    for (const changes of [
      { minimumGuestSvn: 1 },
      { familyIds: ['00'.repeat(16)] },
      { imageIds: ['00'.repeat(16)] },
    ]) {
      expect(await codes(good, { policy: policy(changes) })).toEqual(['snp-document']);
      expect(await codes(good, { policy: policy({ ...changes, idKeyDigests: 'any' }) })).toEqual([
        'snp-document',
      ]);
    }
    const mixed = policy({ minimumGuestSvn: 1, idKeyDigests: ['11'.repeat(48), '00'.repeat(48)] });
    expect(refusalOf(() => readPolicy(mixed))).toMatchObject({
      code: 'snp-document',
      field: 'policy.idKeyDigests',
      found: expect.stringContaining('list') as unknown,
    });
    const anyone = policy({ minimumGuestSvn: 1, idKeyDigests: 'any' });
    expect(refusalOf(() => readPolicy(anyone))).toMatchObject({ code: 'snp-document', found: 'any' });
    const both = within('platformInfo', { forbidden: ['eccEn'] });
    expect(await codes(good, { policy: both })).toEqual(['snp-document']);
  });

  it('SN-45: names the versions, kinds of keys and product lines that count', async () => {
    expect(await judged({ version: 4 })).toEqual(['snp-report-version-denied']);
    expect(await judged({ version: 4 }, policy({ reportVersions: [4] }))).toEqual(['accepted']);
    expect(await judged({}, policy({ productLines: ['Turin'] }))).toEqual(['snp-product-denied']);
    expect(await judged({}, policy({ signingKeys: ['vlek'] }))).toEqual(['snp-signing-key-denied']);
  });

  it('SN-45, SN-54: judges version 2 by the product line of the certificate', async () => {
    const report = { version: 2, cpuid: undefined };
    expect(await judged(report)).toEqual(['snp-report-version-denied', 'snp-minimum-missing']);
    const [first] = (POLICY['minimumTcb'] as { processors: Document[] }).processors;
    const processors = [{ ...first, processor: 'Milan' }];
    const rules = policy({ reportVersions: [2], minimumTcb: { sets: [], processors } });
    expect(await judged(report, rules)).toEqual(['accepted']);
  });

  it('SN-46: names the privilege levels that may ask', async () => {
    expect(await judged({ vmpl: 1 })).toEqual(['snp-vmpl']);
    expect(await judged({ vmpl: 3 }, policy({ vmpls: [0, 3] }))).toEqual(['accepted']);
    expect(await judged({ vmpl: 0 }, policy({ vmpls: [2] }))).toEqual(['snp-vmpl']);
  });

  it('SN-47: demands and forbids bits of the guest policy', async () => {
    const rules = (changes: Document): Document => within('guestPolicy', changes);
    expect(await judged(guestPolicy({ abiMinor: 30 }))).toEqual(['snp-guest-abi']);
    expect(await judged(guestPolicy({ abiMajor: 1, abiMinor: 0 }))).toEqual(['accepted']);
    expect(await judged(guestPolicy({ cxlAllow: true }))).toEqual(['snp-guest-policy-forbidden']);
    expect(await judged({}, rules({ forbidden: ['smtAllowed'] }))).toEqual(['snp-guest-policy-forbidden']);
    for (const name of [
      'singleSocket',
      'memAes256Xts',
      'raplDis',
      'ciphertextHidingDram',
      'pageSwapDisable',
    ]) {
      expect(await judged({}, rules({ required: [name] }))).toEqual(['snp-guest-policy-required']);
      expect(await judged(guestPolicy({ [name]: true }), rules({ required: [name] }))).toEqual(['accepted']);
    }
  });

  it('SN-48: demands and forbids bits of the platform', async () => {
    expect(await judged(platform({ aliasCheckComplete: false }))).toEqual(['snp-platform-required']);
    expect(await judged(platform({ eccEn: false }))).toEqual(['snp-platform-required']);
    expect(await judged(platform({ tioEn: true }))).toEqual(['snp-platform-forbidden']);
    expect(await judged({}, within('platformInfo', { forbidden: ['smtEn'] }))).toEqual([
      'snp-platform-forbidden',
    ]);
  });

  it('SN-49: tolerates unnamed platform bits only by number', async () => {
    expect(await judged(platform({ unknownBits: 0x40n }))).toEqual(['accepted']);
    expect(await judged(platform({ unknownBits: 0x140n }))).toEqual(['snp-platform-unknown-bits']);
    const none = within('platformInfo', { toleratedUnknownBits: '0000000000000000' });
    expect(await judged(platform({ unknownBits: 0x40n }), none)).toEqual(['snp-platform-unknown-bits']);
  });

  it('SN-50: names who may sign the launch and what the ID block says', async () => {
    const idKeyDigest = zeros(48).fill(9);
    const block = { idKeyDigest, guestSvn: 7, familyId: zeros(16).fill(1), imageId: zeros(16).fill(2) };
    expect(await judged(block)).toEqual(['snp-id-key']);
    const strict = policy({
      idKeyDigests: [toHex(idKeyDigest)],
      minimumGuestSvn: 7,
      familyIds: [toHex(block.familyId)],
      imageIds: [toHex(block.imageId)],
    });
    expect(await judged(block, strict)).toEqual(['accepted']);
    expect(await judged({ ...block, guestSvn: 6 }, strict)).toEqual(['snp-guest-svn']);
    expect(await judged({ ...block, familyId: zeros(16) }, strict)).toEqual(['snp-family-id']);
    expect(await judged({ ...block, imageId: zeros(16) }, strict)).toEqual(['snp-image-id']);
    const author = {
      authorKeyDigest: zeros(48).fill(3),
      keyInfo: { ...MILAN_REPORT.keyInfo, authorKeyEn: true },
    };
    expect(await judged(author)).toEqual(['snp-author-key']);
  });

  it('SN-51: names HOST_DATA and mitigations', async () => {
    expect(await judged({ hostData: zeros(32).fill(1) })).toEqual(['snp-host-data']);
    expect(await judged({ hostData: zeros(32).fill(1) }, policy({ hostData: 'any' }))).toEqual(['accepted']);
    const launch = (bits: string) => within('mitigations', { launch: bits });
    const current = (bits: string) => within('mitigations', { current: bits });
    const given = (rules: Document) => ({ anchors: [pin(turin)], policy: rules });
    const ofTurin = (rules: Document) => codes(signed({}, TURIN_REPORT), given(rules), turin);
    expect(await ofTurin(launch('0000000000000003'))).toEqual(['accepted']);
    expect(await ofTurin(launch('0000000000000004'))).toEqual(['snp-mitigations']);
    expect(await ofTurin(current('0000000000000004'))).toEqual(['accepted']);
    expect(await ofTurin(current('0000000000000008'))).toEqual(['snp-mitigations']);
    expect(await judged({}, launch('0000000000000001'))).toEqual(['snp-mitigations']);
  });

  it('SN-52: names chips and providers', async () => {
    const chips = (changes: Document): Document => within('chips', changes);
    expect(await judged({}, chips({ allowed: [toHex(CHIP)] }))).toEqual(['accepted']);
    expect(await judged({}, chips({ allowed: ['11'.repeat(64)] }))).toEqual(['snp-chip-denied']);
    expect(await judged({}, chips({ denied: [toHex(CHIP)] }))).toEqual(['snp-chip-denied']);
    const masked = { chipId: zeros(64) };
    expect(await judged(masked)).toEqual(['snp-chip-masked']);
    expect(await judged(masked, chips({ allowMasked: true }))).toEqual(['accepted']);
    expect(await judged(masked, chips({ allowMasked: true, denied: [toHex(CHIP)] }))).toEqual([
      'snp-chip-denied',
    ]);
    const onTurin = (rules: Document) =>
      codes(signed({}, TURIN_REPORT), { anchors: [pin(turin)], policy: rules }, turin);
    expect(await onTurin(chips({ denied: [toHex(TURIN_CHIP)] }))).toEqual(['snp-chip-denied']);
    expect(await onTurin(chips({ allowed: [toHex(TURIN_CHIP)] }))).toEqual(['accepted']);
  });

  it('SN-52: judges keys of providers by csp_id, and never by a list of chips', async () => {
    const fleet = { chipId: zeros(64), keyInfo: { ...MILAN_REPORT.keyInfo, signingKey: 1 } };
    const of = (rules: Document) => codes(signed(fleet), { policy: rules }, provider, 'vlek');
    const vlek = policy({ signingKeys: ['vlek'] });
    expect(await of(POLICY)).toEqual(['snp-signing-key-denied']);
    expect(await of(vlek)).toEqual(['accepted']);
    expect(await of({ ...vlek, cspIds: [] })).toEqual(['snp-csp-denied']);
    expect(await of({ ...vlek, cspIds: [`${CSP_ID}.evil`] })).toEqual(['snp-csp-denied']);
    const chips = { allowed: [toHex(CHIP)], denied: [], allowMasked: true };
    expect(await of({ ...vlek, chips })).toEqual(['snp-chip-denied']);
  });

  it('SN-54: demands the minimum of all four TCBs and of the firmware', async () => {
    const provisional = { allowProvisionalFirmware: true };
    const strict = (tcb: Document, firmware = '1.55.35'): Document =>
      policy({
        ...provisional,
        minimumTcb: {
          sets: [],
          processors: [
            {
              processor: '19-01-01',
              tcb: { fmc: null, bootLoader: 4, tee: 0, snp: 27, microcode: 0xde, ...tcb },
              firmware,
            },
          ],
        },
      });
    const all = ['reported', 'committed', 'launch', 'current'].map((name) => `snp-${name}-tcb-minimum`);
    expect(await judged({}, strict({}))).toEqual(['accepted']);
    for (const tcb of [{ bootLoader: 5 }, { tee: 1 }, { snp: 28 }, { microcode: 0xdf }, { fmc: 0 }]) {
      expect(await judged({}, strict(tcb))).toEqual(all);
    }
    const lower = writeTcb('milan', { ...MILAN_TCB, snp: 26 });
    expect(await judged({ launchTcb: lower }, strict({}))).toEqual(['snp-launch-tcb-minimum']);
    expect(await judged({ committedTcb: lower }, strict({}))).toEqual(['snp-committed-tcb-minimum']);
    expect(await judged({}, strict({}, '1.55.41'))).toEqual(['snp-firmware-minimum']);
    const old = { committedVersion: { major: 1, minor: 54, build: 99 } };
    expect(await judged(old, strict({}))).toEqual(['snp-firmware-minimum']);
    expect(await judged({ cpuid: { family: 0x19, model: 1, stepping: 2 } }, strict({}))).toEqual([
      'snp-minimum-missing',
    ]);
  });

  it('SN-54: takes named sets from the reference values', async () => {
    const named = policy({ minimumTcb: { sets: ['strict'], processors: [] } });
    const set = (snp: number): Document => ({
      version: 1,
      class: 'sev-snp',
      kind: 'minimum-tcb',
      name: 'strict',
      date: '2026-01',
      bulletins: [
        {
          bulletin: 'TEST-1',
          date: '2026-01-01',
          source: 'test',
          confidence: 'high',
          processors: [
            {
              processor: '19-01-01',
              tcb: { fmc: null, bootLoader: 0, tee: 0, snp, microcode: 0 },
              firmware: '0.0.0',
            },
          ],
        },
      ],
    });
    const given = (snp: number) => codes(good, { policy: named, referenceValues: [LAUNCH, set(snp)] });
    expect(await given(27)).toEqual(['accepted']);
    expect(await given(28)).toHaveLength(4);
    // A launch may have the name of a set: it is none.
    const namesake = [{ ...LAUNCH, name: 'strict' }, set(27)];
    expect(await codes(good, { policy: named, referenceValues: namesake })).toEqual(['accepted']);
    expect(await codes(good, { policy: named })).toEqual(['snp-minimum-set-unknown']);
  });

  it('SN-53: reads firmware versions of three numbers from 0 to 255 and nothing around them', () => {
    const code = (firmware: string): string => {
      const [first] = (POLICY['minimumTcb'] as { processors: Document[] }).processors;
      const minimumTcb = { sets: [], processors: [{ ...first, firmware }] };
      return refusalCode(() => readPolicy(policy({ minimumTcb })));
    };
    for (const right of ['0.0.0', '1.5.9', '12.34.56', '255.255.255']) {
      expect([right, code(right)]).toEqual([right, 'accepted']);
    }
    for (const wrong of [' 1.5.9', '0x1.5.9', '1.5.9 ', '1.5.9.1', '1.5', '01.5.9', '1.5.256', '1..9']) {
      expect([wrong, code(wrong)]).toEqual([wrong, 'shape-value']);
    }
  });

  it('SN-55: demands that the running firmware is committed, unless it is allowed not to be', async () => {
    const newer = { currentVersion: { major: 1, minor: 55, build: 41 } };
    const level = { currentTcb: writeTcb('milan', { ...MILAN_TCB, microcode: 0xdf }) };
    for (const report of [newer, level]) {
      expect(await judged(report)).toEqual(['snp-provisional-firmware']);
      expect(await judged(report, policy({ allowProvisionalFirmware: true }))).toEqual(['accepted']);
    }
  });

  it('EV-4: reports all that is wrong with an authentic report at once', async () => {
    expect(await judged({ ...guestPolicy({ debug: true }), vmpl: 2, hostData: zeros(32).fill(1) })).toEqual([
      'snp-debug',
      'snp-vmpl',
      'snp-host-data',
    ]);
  });
});

describe('reference values', () => {
  const launch = (changes: Document, provenance: Document = {}): Document => ({
    ...LAUNCH,
    provenance: { ...(LAUNCH['provenance'] as Document), ...provenance },
    ...changes,
  });

  it('SN-53: say where they are from', async () => {
    const code = (value: Document) => codes(good, { referenceValues: [value] });
    expect(await code(launch({}, { method: 'derived' }))).toEqual(['snp-document']);
    const artefacts = [{ role: 'kernel', sha256: '22'.repeat(32) }];
    expect(await code(launch({}, { method: 'derived', artefacts }))).toEqual(['accepted']);
    expect(await code(launch({}, { parameters: { vcpuCount: '4', vcpuModel: 'EPYC-v4' } }))).toEqual([
      'accepted',
    ]);
    expect(await code(launch({ measurement: '5a'.repeat(47) }))).toEqual(['shape-value']);
    expect(await code(launch({ kind: 'other' }))).toEqual(['shape-value']);
    expect(await code(launch({ note: '' }))).toEqual(['shape-member']);
  });
});

function question(report: Uint8Array, expectedReportData: Uint8Array) {
  return {
    report,
    certificates: { vcek: milan.key, vlek: undefined, intermediate: milan.intermediate, ark: milan.ark },
    anchors: [pin(milan)],
    collateral,
    time: NOW,
    expectedReportData,
    policy: POLICY,
    referenceValues: [LAUNCH],
  };
}

describe('a report that stands alone', () => {
  it('SN-56: is accepted for what it was made for', async () => {
    const verdict = await verifySevSnpReport(question(good, REPORT_DATA));
    if (verdict.outcome !== 'accepted') throw new Error('refused');
    expect(isTrusted(verdict.claims)).toBe(true);
    expect(Object.keys(verdict.claims)).not.toContain('class');
    expect(await verifySevSnpReport(question(good, zeros(64)))).toMatchObject({
      outcome: 'refused',
      refusals: [{ code: 'snp-report-data' }],
    });
    const cut = await verifySevSnpReport(question(good.subarray(1), REPORT_DATA));
    expect(cut).toMatchObject({ outcome: 'refused', refusals: [{ code: 'snp-report-size' }] });
  });

  it('SN-56: is only inspected when nobody knows what it was made for', async () => {
    const asked = { ...question(good, REPORT_DATA), expectedReportData: undefined };
    const verdict = await verifySevSnpReport(asked);
    if (verdict.outcome !== 'inspected') throw new Error(verdict.outcome);
    expect(isTrusted(verdict.claims)).toBe(false);
    expect(verdict.claims.measurement).toBe('5a'.repeat(48));
    const unjudged = verdict.checks.filter(({ outcome }) => outcome === 'unjudged');
    expect(unjudged).toMatchObject([{ id: 'snp-report-data', found: toHex(REPORT_DATA) }]);
    const debug = await verifySevSnpReport({ ...asked, report: signed(guestPolicy({ debug: true })) });
    expect(debug).toMatchObject({ outcome: 'refused', refusals: [{ code: 'snp-debug' }] });
  });
});

describe('hostile evidence', () => {
  it('EV-5, W11: gives refusals and nothing else', async () => {
    const evidence = evidenceOf(good, milan);
    const table = Buffer.from(evidence['certificateTable'] as string, 'base64');
    const edits = fc.array(fc.tuple(fc.nat({ max: table.length - 1 }), fc.nat({ max: 255 })), {
      minLength: 1,
      maxLength: 3,
    });
    await fc.assert(
      fc.asyncProperty(edits, async (changes) => {
        const damaged = Uint8Array.from(table);
        for (const [at, value] of changes) damaged[at] = value;
        if (Buffer.compare(damaged, table) === 0) return;
        const given = { ...evidence, certificateTable: toBase64(damaged) };
        // Anything but a refusal is thrown on; a table that reads must still lead to a refusal.
        const code = await refusalCodeAsync(async () => {
          const parsed = sevSnpDeviceClass.parse(given, 'evidence');
          const { outcome } = await sevSnpDeviceClass.verify(parsed, inputs());
          expect(outcome).toBe('refused');
        });
        expect(code).toMatch(/^(?:accepted|snp-table-[a-z]+|pem-malformed)$/);
      }),
      { numRuns: 100 },
    );
  });
});
