import { sha256 } from '@noble/hashes/sha2.js';
import { generateKeyPairSync } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';

import { NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import type { Verdict } from '../../../attestation/core/verdict.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import type { SevSnpClaims } from '../../../attestation/sev-snp/claims.ts';
import { sevSnpDeviceClass } from '../../../attestation/sev-snp/device-class.ts';
import { readKeyCertificate } from '../../../attestation/sev-snp/key-certificate.ts';
import { computeReportData } from '../../../attestation/sev-snp/report-data.ts';
import { authorityExtensions } from '../../support/certificate-writer.ts';
import { keptRsaKey } from '../../support/kept-keys.ts';
import { refusalCode, refusalOf, verdictCodes } from '../../support/refusal-code.ts';
import {
  amdExtension,
  CHIP,
  CSP_ID,
  evidenceOf,
  keyExtensions,
  LAUNCH,
  makeChain,
  makeKeys,
  makeList,
  MILAN_REPORT,
  MILAN_TCB,
  NOW,
  pin,
  POLICY,
  signReport,
  TURIN_CHIP,
  TURIN_TCB,
} from './lookalike.ts';
import type { Chain, ChainChanges, Document, Keys, ListChanges } from './lookalike.ts';

const DEVICE_VALUE = sha256(Uint8Array.of(1));
const REPORT_DATA = computeReportData({ deviceValue: DEVICE_VALUE, companionsDigest: NO_COMPANIONS });

let keys: Keys;
let good: Chain;
let report: Uint8Array;
let list: Uint8Array;

beforeAll(() => {
  keys = makeKeys();
  good = makeChain(keys);
  list = makeList(good, keys.ark);
  report = signReport({ ...MILAN_REPORT, reportData: REPORT_DATA }, keys.chip);
}, 120_000);

function inputs(chain: Chain, changes: Partial<DeviceInputs> = {}): DeviceInputs {
  return {
    expectedDeviceValue: DEVICE_VALUE,
    companionsDigest: NO_COMPANIONS,
    lab: 'lab-one',
    time: NOW,
    anchors: [pin(chain)],
    collateral: new Map([['crl/Milan', chain.ark === good.ark ? list : makeList(chain, keys.ark)]]),
    enrolment: undefined,
    referenceValues: [LAUNCH],
    policy: POLICY,
    ...changes,
  };
}

function verdictOf(evidence: Document, given: DeviceInputs): Promise<Verdict<SevSnpClaims>> {
  return sevSnpDeviceClass.verify(sevSnpDeviceClass.parse(evidence, 'evidence'), given);
}

async function codes(evidence: Document, given: DeviceInputs): Promise<readonly string[]> {
  return verdictCodes(await verdictOf(evidence, given));
}

/** What comes of a chain with changes whose own root is the anchor. */
function ofChain(changes: ChainChanges, given: Partial<DeviceInputs> = {}): Promise<readonly string[]> {
  const chain = makeChain(keys, changes);
  return codes(evidenceOf(report, chain), inputs(chain, given));
}

describe('the chain', () => {
  it('SN-15: is accepted under the pinned key or the certificate of its root', async () => {
    expect(await ofChain({})).toEqual(['accepted']);
    const certificate = { name: 'lookalike', certificate: good.ark, simulated: true };
    expect(await ofChain({}, { anchors: [certificate] })).toEqual(['accepted']);
    const { ark: _, ...withoutRoot } = good;
    const given = inputs(good, { anchors: [certificate] });
    expect(await codes(evidenceOf(report, withoutRoot), given)).toEqual(['accepted']);
  });

  it('SN-15: is refused under another root of the same name, and under none', async () => {
    const other = keptRsaKey('other-ark');
    const foreign = makeChain({ ...keys, ark: other });
    expect(await ofChain({}, { anchors: [pin(foreign)] })).toEqual(['path-untrusted']);
    expect(await ofChain({}, { anchors: [] })).toEqual(['path-untrusted']);
    const foreignRoot = { name: 'ARK-Milan', certificate: foreign.ark, simulated: false };
    expect(await ofChain({}, { anchors: [foreignRoot] })).toEqual(['path-untrusted']);
    // The pinned root beside an intermediate that another key of the same name signed.
    expect(await ofChain({ intermediateSigner: other })).toEqual(['path-signature']);
    expect(await ofChain({ keySigner: other })).toEqual(['path-signature']);
  }, 120_000);

  it('SN-15: needs the certificate of a root that is pinned by its key', async () => {
    const { ark: _, ...withoutRoot } = good;
    expect(await codes(evidenceOf(report, withoutRoot), inputs(good))).toEqual(['path-untrusted']);
    const { subjectPublicKeyInfo } = readCertificate(good.intermediate, 'intermediate');
    const authority = { ...pin(good), publicKeyDigest: sha256(subjectPublicKeyInfo) };
    const verdict = await verdictOf(evidenceOf(report, withoutRoot), inputs(good, { anchors: [authority] }));
    expect(verdict).toMatchObject({ refusals: [{ code: 'snp-certificate-missing', field: 'ark' }] });
  });

  it('SN-14: may be completed by collateral under its names', async () => {
    const collateral = new Map([
      ...inputs(good).collateral,
      ['ark/Milan', good.ark],
      ['ask/Milan', good.intermediate],
    ]);
    expect(await codes(evidenceOf(report, { key: good.key }), inputs(good, { collateral }))).toEqual([
      'accepted',
    ]);
    const vcek = `vcek/${Buffer.from(CHIP).toString('hex')}/0400000000001bde`;
    const whole = new Map([...collateral, [vcek, good.key]]);
    expect(await codes(evidenceOf(report, {}), inputs(good, { collateral: whole }))).toEqual(['accepted']);
    expect(await codes(evidenceOf(report, {}), inputs(good, { collateral }))).toEqual([
      'snp-certificate-missing',
    ]);
    expect(await codes(evidenceOf(report, { key: good.key }), inputs(good))).toEqual([
      'snp-certificate-missing',
    ]);
    const keyInfo = { ...MILAN_REPORT.keyInfo, signingKey: 1 };
    const ofProvider = signReport({ ...MILAN_REPORT, reportData: REPORT_DATA, keyInfo }, keys.chip);
    expect(await codes(evidenceOf(ofProvider, {}), inputs(good, { collateral: whole }))).toEqual([
      'snp-certificate-missing',
    ]);
  });

  it('SN-16: keeps keys of chips and of providers, and product lines, apart', async () => {
    const vlekAuthority = { issuer: 'SEV-VLEK-Milan' };
    expect(await ofChain({ intermediate: { subject: 'SEV-VLEK-Milan' }, key: vlekAuthority })).toEqual([
      'snp-chain-names',
    ]);
    expect(await ofChain({ intermediate: { subject: 'SEV-Genoa' }, key: { issuer: 'SEV-Genoa' } })).toEqual([
      'snp-chain-names',
    ]);
    const otherRoot = { issuer: 'ARK-Genoa', subject: 'ARK-Genoa' };
    expect(await ofChain({ ark: otherRoot, intermediate: { issuer: 'ARK-Genoa' } })).toEqual([
      'snp-chain-names',
    ]);
    const vlek = keyExtensions('Milan', MILAN_TCB, CSP_ID);
    expect(await ofChain({ key: { subject: 'SEV-VLEK', extensions: vlek } })).toEqual([
      'snp-certificate-kind',
    ]);
    expect(await ofChain({ key: { subject: 'SEV-OTHER' } })).toEqual(['snp-certificate-subject']);
  });

  it('SN-17: accepts no other keys and algorithms', async () => {
    const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const publicKey = new Uint8Array(p256.publicKey.export({ type: 'spki', format: 'der' }));
    expect(await ofChain({ key: { publicKey } })).toEqual(['snp-chain-algorithms']);
    const rsa2048 = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const weak = new Uint8Array(rsa2048.publicKey.export({ type: 'spki', format: 'der' }));
    const chain = { intermediate: { publicKey: weak }, keySigner: rsa2048.privateKey };
    expect(await ofChain(chain)).toEqual(['snp-chain-algorithms']);
  });

  it('SN-18: needs the constraints of each place', async () => {
    const authority = authorityExtensions(0);
    expect(await ofChain({ intermediate: { extensions: authorityExtensions(undefined) } })).toEqual([
      'snp-chain-authorities',
    ]);
    expect(await ofChain({ intermediate: { extensions: authority.slice(1) } })).toEqual(['path-authority']);
    expect(await ofChain({ intermediate: { extensions: authority.slice(0, 1) } })).toEqual([
      'path-authority',
    ]);
    const [constraints, usage] = authorityExtensions(undefined);
    const noListSigning = { ...usage!, value: Uint8Array.of(3, 2, 2, 4) };
    const listSigning = { ...usage!, value: Uint8Array.of(3, 2, 1, 2) };
    for (const lacking of [
      [constraints!, noListSigning],
      [constraints!, listSigning],
      [constraints!],
      [usage!],
    ]) {
      expect(await ofChain({ ark: { extensions: lacking } })).toEqual(['snp-chain-authorities']);
    }
    const extensions = [...keyExtensions('Milan', MILAN_TCB, CHIP), authority[0]!];
    expect(await ofChain({ key: { extensions } })).toEqual(['snp-certificate-extensions']);
  });

  it('SN-19: is valid from the first to the last second of every certificate', async () => {
    const second = (offset: number): Date => new Date(1000 * (NOW + offset));
    for (const place of ['key', 'intermediate', 'ark'] as const) {
      const code = place === 'ark' ? 'snp-root-validity' : 'path-validity';
      expect(await ofChain({ [place]: { notAfter: second(-1) } })).toEqual([code]);
      expect(await ofChain({ [place]: { notBefore: second(1) } })).toEqual([code]);
      expect(await ofChain({ [place]: { notBefore: second(0), notAfter: second(0) } })).toEqual(['accepted']);
    }
  });

  it('SN-19: needs a root that signed itself', async () => {
    const swapped = good.ark.slice();
    swapped[swapped.length - 1] = swapped.at(-1)! ^ 1;
    const chain = { ...good, ark: swapped };
    expect(await codes(evidenceOf(report, chain), inputs(good))).toEqual(['snp-root-signature']);
  });
});

describe('what the checks of a chain show', () => {
  const shown = async (id: string, changes: ChainChanges) => {
    const chain = makeChain(keys, changes);
    const { checks } = await verdictOf(evidenceOf(report, chain), inputs(chain));
    return checks.filter((check) => check.id === id);
  };

  it('which certificates there are, and which is missing', async () => {
    const found = async (chain: Partial<Chain>) => {
      const { checks } = await verdictOf(evidenceOf(report, chain), inputs(good));
      const presence = checks.filter(({ id }) => id === 'snp-certificate-missing');
      return presence.map((check) => [check.field, check.found]);
    };
    expect(await found(good)).toEqual([
      ['vcek', 'one'],
      ['intermediate', 'one'],
    ]);
    expect(await found({ key: good.key })).toEqual([
      ['vcek', 'one'],
      ['intermediate', 'none'],
    ]);
  });

  it('SN-22: the line of the processor and that of the certificate', async () => {
    const [check] = await shown('snp-product-mismatch', { line: 'Genoa' });
    expect(check).toMatchObject({
      expected: expect.stringContaining('Milan') as unknown,
      found: expect.stringContaining('Genoa') as unknown,
    });
  });

  it('SN-18: the path length and the usages that the authorities have', async () => {
    const open = { intermediate: { extensions: authorityExtensions(undefined) } };
    expect(await shown('snp-chain-authorities', open)).toMatchObject([
      { outcome: 'failed', found: 'path length not limited, usage 5 6' },
    ]);
    const [constraints] = authorityExtensions(undefined);
    expect(await shown('snp-chain-authorities', { ark: { extensions: [constraints!] } })).toMatchObject([
      { outcome: 'failed', found: expect.stringMatching(/^path length 0, usage\s*$/) as unknown },
    ]);
  });
});

describe('VCEK and VLEK certificates', () => {
  const extensions = (change: (all: ReturnType<typeof keyExtensions>[number][]) => unknown): ChainChanges => {
    const all = [...keyExtensions('Milan', MILAN_TCB, CHIP)];
    change(all);
    return { key: { extensions: all } };
  };
  const at = (all: ReturnType<typeof keyExtensions>, suffix: string): number =>
    all.findIndex(({ identifier }) => identifier.endsWith(`.3704.1.${suffix}`));
  const replaced = (suffix: string, ...value: readonly number[]): ChainChanges =>
    extensions((all) => (all[at(all, suffix)] = amdExtension(suffix, ...value)));

  it('SN-20: have each of AMD’s extensions once and no other', async () => {
    expect(await ofChain(extensions((all) => all.reverse()))).toEqual(['accepted']);
    for (const suffix of ['1', '2', '3.1', '3.2', '3.3', '3.4', '3.5', '3.6', '3.7', '3.8', '4']) {
      const code = await ofChain(extensions((all) => all.splice(at(all, suffix), 1)));
      expect([suffix, ...code]).toEqual([suffix, 'snp-certificate-extensions']);
    }
    const set = ['snp-certificate-extensions'];
    expect(await ofChain(extensions((all) => all.push(amdExtension('5', 0x16, 1, 0x41))))).toEqual(set);
    expect(await ofChain(extensions((all) => all.push(amdExtension('3.9', 2, 1, 0))))).toEqual(set);
    expect(await ofChain(extensions((all) => all.push(amdExtension('9', 2, 1, 0))))).toEqual(set);
    expect(await ofChain(extensions((all) => all.push(all[0]!)))).toEqual(['certificate-extension']);
  });

  it('SN-21: have levels of one INTEGER from 0 to 255', async () => {
    expect(await ofChain(replaced('3.8', 2, 2, 1, 0xde))).toEqual(['snp-certificate-extension']);
    expect(await ofChain(replaced('3.8', 2, 1, 0xde))).toEqual(['der-value']);
    expect(await ofChain(replaced('3.1', 2, 2, 0, 4))).toEqual(['der-value']);
    expect(await ofChain(replaced('3.1', 2, 1, 4, 0))).toEqual(['der-trailing']);
    expect(await ofChain(replaced('3.1', 2, 0x81, 1, 4))).toEqual(['der-length']);
    expect(await ofChain(replaced('3.1', 4, 1, 4))).toEqual(['der-tag']);
    expect(await ofChain(replaced('3.1', 2, 2, 4))).toEqual(['der-truncated']);
    for (const unused of ['3.4', '3.5', '3.6', '3.7']) {
      const code = await ofChain(replaced(unused, 2, 1, 1));
      expect([unused, ...code]).toEqual([unused, 'snp-certificate-extension']);
    }
    expect(await ofChain(replaced('1', 2, 1, 2))).toEqual(['snp-certificate-extension']);
  });

  it('SN-21: have a hardware id of the length of their structure, without a tag', async () => {
    const refused = ['snp-certificate-extension'];
    expect(await ofChain(replaced('4', ...CHIP.subarray(1)))).toEqual(refused);
    expect(await ofChain(replaced('4', 4, 64, ...CHIP))).toEqual(refused);
    expect(await ofChain(replaced('4', ...TURIN_CHIP))).toEqual(refused);
    expect(await ofChain(replaced('4', ...new Uint8Array(64)))).toEqual(refused);
    // One with a zero in it is read, and found to be that of another chip.
    expect(await ofChain(replaced('4', ...CHIP.with(7, 0)))).toEqual(['snp-chip-id']);
  });

  it('SN-20: have a csp_id that can be printed', () => {
    const code = (cspId: string): string => {
      const chain = makeChain(keys, {
        kind: 'vlek',
        key: { extensions: keyExtensions('Milan', MILAN_TCB, cspId) },
      });
      return refusalCode(() => readKeyCertificate(chain.key, 'vlek'));
    };
    expect(code(CSP_ID)).toBe('accepted');
    for (const cspId of ['', 'CN=a\nCN=b']) expect(code(cspId)).toBe('snp-certificate-extension');
  });

  it('SN-16: are named as such', () => {
    const { key } = makeChain(keys, { key: { subject: 'SEV-OTHER' } });
    expect(refusalOf(() => readKeyCertificate(key, 'vcek'))).toMatchObject({
      code: 'snp-certificate-subject',
      found: 'another name',
    });
  });

  it('SN-22: are of the product line of the processor in all places', async () => {
    const name = (text: string) => replaced('2', 0x16, text.length, ...Buffer.from(text));
    expect(await ofChain(name('Milan'))).toEqual(['accepted']);
    expect(await ofChain(name('Genoa'))).toEqual(['snp-product-mismatch']);
    expect(await ofChain(name('Venice'))).toEqual(['snp-certificate-extension']);
    expect(await ofChain(name('Milan-B0 '))).toEqual(['snp-certificate-extension']);
    const turinStructure = keyExtensions('Turin', TURIN_TCB, TURIN_CHIP).map((extension) =>
      extension.identifier.endsWith('.3704.1.2')
        ? amdExtension('2', 0x16, 5, ...Buffer.from('Milan'))
        : extension,
    );
    expect(await ofChain({ key: { extensions: turinStructure } })).toEqual(['snp-product-mismatch']);
    expect(await ofChain({ line: 'Genoa' })).toEqual(['snp-product-mismatch']);
  });
});

describe('revocation', () => {
  const withList = (changes: ListChanges, given: Partial<DeviceInputs> = {}): Promise<readonly string[]> =>
    ofChain({}, { collateral: new Map([['crl/Milan', makeList(good, keys.ark, changes)]]), ...given });
  const policy = (revocation: Document): Document => ({
    ...POLICY,
    revocation: { ...(POLICY['revocation'] as Document), ...revocation },
  });

  it('SN-24: takes a list of the root that is in force', async () => {
    expect(await withList({})).toEqual(['accepted']);
    expect(await withList({ thisUpdate: NOW })).toEqual(['accepted']);
    expect(await withList({ thisUpdate: NOW + 1 })).toEqual(['crl-not-yet-valid']);
    expect(await withList({ nextUpdate: NOW })).toEqual(['crl-stale']);
    expect(await withList({ version: 0 })).toEqual(['crl-malformed']);
    const other = makeList(good, keys.intermediate);
    expect(await ofChain({}, { collateral: new Map([['crl/Milan', other]]) })).toEqual(['crl-signature']);
    const genoa = makeChain(keys, { line: 'Genoa' });
    const foreign = makeList(genoa, keys.ark);
    expect(await ofChain({}, { collateral: new Map([['crl/Milan', foreign]]) })).toEqual(['crl-issuer']);
    const flipped = makeList(good, keys.ark, { revoked: ['010001'] });
    const place = Buffer.from(flipped).indexOf(Buffer.from('0203010001', 'hex'), 120);
    flipped[place + 4] = 2;
    expect(await ofChain({}, { collateral: new Map([['crl/Milan', flipped]]) })).toEqual(['crl-signature']);
  });

  it('SN-24: refuses critical extensions that are not understood, and unclear lists', async () => {
    const indirect = '300f0603551d1c0101ff04053003840101';
    expect(await withList({ extensions: indirect })).toEqual(['crl-malformed']);
    const repeated = '300a0603551d140403020102';
    expect(await withList({ extensions: repeated })).toEqual(['crl-malformed']);
    const reason = '300c300a0603551d1504030a0101';
    expect(await withList({ revoked: ['02'], entryExtensions: reason })).toEqual(['accepted']);
    const criticalIssuer = '300f300d0603551d1d0101ff0403020101';
    expect(await withList({ revoked: ['02'], entryExtensions: criticalIssuer })).toEqual(['crl-malformed']);
    const huge = new Uint8Array(32 * 1024 + 1);
    expect(await ofChain({}, { collateral: new Map([['crl/Milan', huge]]) })).toEqual(['crl-size']);
  });

  it('SN-25: refuses a revoked authority, and only that', async () => {
    expect(await withList({ revoked: ['010001'] })).toEqual(['snp-authority-revoked']);
    expect(await withList({ revoked: ['7f', '010000'] })).toEqual(['snp-authority-revoked']);
    expect(await withList({ revoked: ['010101', '00'] })).toEqual(['accepted']);
  });

  it('SN-25: shows that a list was looked at, and what it revokes', async () => {
    const verify = (revoked: readonly string[]) => {
      const collateral = new Map([['crl/Milan', makeList(good, keys.ark, { revoked })]]);
      return verdictOf(evidenceOf(report, good), inputs(good, { collateral }));
    };
    const { checks } = await verify([]);
    expect(checks.filter(({ id }) => /^snp-(?:revocation-list|authority-revoked)$/.test(id))).toMatchObject([
      { field: 'crl/Milan', expected: 'a list of ARK-Milan that is in force', outcome: 'passed' },
      { field: 'chain', found: 'none of them is', outcome: 'passed' },
    ]);
    expect(await verify(['010001'])).toMatchObject({
      outcome: 'refused',
      refusals: [{ code: 'snp-authority-revoked', found: 'serial number 010001 revoked' }],
    });
  });

  it('SN-26: needs a list unless the policy says by name that it may be missing', async () => {
    const none = { collateral: new Map() };
    expect(await ofChain({}, none)).toEqual(['snp-revocation-missing']);
    const accept = policy({ missingList: 'accept' });
    expect(await ofChain({}, { ...none, policy: accept })).toEqual(['accepted']);
    expect(await withList({ nextUpdate: NOW }, { policy: accept })).toEqual(['crl-stale']);
    expect(await withList({ revoked: ['010001'] }, { policy: accept })).toEqual(['snp-authority-revoked']);
  });

  it('SN-26: needs a list that is recent and not older than one that was seen', async () => {
    const limit = { maxAgeSeconds: 100 };
    expect(await withList({ thisUpdate: NOW - 100 }, { policy: policy(limit) })).toEqual(['accepted']);
    expect(await withList({ thisUpdate: NOW - 101 }, { policy: policy(limit) })).toEqual([
      'snp-revocation-age',
    ]);
    expect(await withList({ number: 1 })).toEqual(['snp-revocation-age']);
    expect(await withList({ number: 3 })).toEqual(['accepted']);
  });
});
