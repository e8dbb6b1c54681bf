import { sha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { toBase64, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { encode } from '../../../attestation/core/layout.ts';
import { isTrusted } from '../../../attestation/core/trusted.ts';
import { RefusalError } from '../../../attestation/core/refusal.ts';
import { withLastSeen } from '../../../attestation/tpm/enrolment.ts';
import { tpmDeviceClass } from '../../../attestation/tpm/device-class.ts';
import { Algorithm, attest, AttestType } from '../../../attestation/tpm/layout.ts';
import type { CertifyAttest } from '../../../attestation/tpm/layout.ts';
import { computeQualifiedName, Hierarchy, hierarchyName } from '../../../attestation/tpm/name.ts';
import { makeAuthority } from '../../support/certificates.ts';
import { makeSoftwareAttester, PCRS } from '../../support/software-attester.ts';
import type { SoftwareAttester } from '../../support/software-attester.ts';

type Document = Readonly<Record<string, JsonValue>>;

let machine: SoftwareAttester;
let good: Document;

beforeAll(async () => {
  machine = await makeSoftwareAttester();
  good = (await machine.evidence()) as Document;
});

/** The codes of all refusals, or `accepted`. */
async function codes(
  evidence: JsonValue,
  inputs: Partial<DeviceInputs> = {},
  by: SoftwareAttester = machine,
): Promise<readonly string[]> {
  try {
    const parsed = tpmDeviceClass.parse(evidence, 'evidence');
    const verdict = await tpmDeviceClass.verify(parsed, { ...by.inputs, ...inputs });
    return verdict.outcome === 'accepted' ? ['accepted'] : verdict.refusals.map(({ code }) => code);
  } catch (error) {
    if (error instanceof RefusalError) return [(error as RefusalError).refusal.code];
    throw error;
  }
}

const record = (changes: Document): JsonValue => ({ ...(machine.inputs.enrolment as Document), ...changes });
const policy = (changes: Document): JsonValue => ({ ...(machine.inputs.policy as Document), ...changes });
const reference = (changes: Document): JsonValue => ({
  ...(machine.inputs.referenceValues[0] as Document),
  ...changes,
});

describe('a good quote', () => {
  it.each(['ecc-p256', 'rsa-2048', 'rsa-pss-2048'] as const)(
    'EV-21: is accepted with a key %s',
    async (kind) => {
      const attester = await makeSoftwareAttester(kind);
      expect(await codes(await attester.evidence(), {}, attester)).toEqual(['accepted']);
    },
  );

  it('EV-4: gives trusted claims and the checks behind them', async () => {
    const verdict = await tpmDeviceClass.verify(tpmDeviceClass.parse(good, 'evidence'), machine.inputs);
    if (verdict.outcome !== 'accepted') throw new Error('refused');
    expect(isTrusted(verdict.claims)).toBe(true);
    expect(isTrusted({ ...verdict.claims })).toBe(false);
    expect(verdict.claims).toMatchObject({
      class: 'tpm',
      simulated: true,
      lab: 'lab-one',
      akName: toHex(machine.name),
      referenceValues: 'test machine',
      clock: '5000',
      resetCount: 7,
      firmwareVersion: '2019102300163636',
      restarted: false,
    });
    expect(verdict.checks.every(({ outcome, protects }) => outcome === 'passed' && protects !== '')).toBe(
      true,
    );
    expect(verdict.checks.map(({ id }) => id)).toContain('tpm-quote-binding');
  });

  it('W10: gives the same verdict each time', async () => {
    const parsed = tpmDeviceClass.parse(good, 'evidence');
    const [first, second] = await Promise.all([
      tpmDeviceClass.verify(parsed, machine.inputs),
      tpmDeviceClass.verify(parsed, machine.inputs),
    ]);
    expect(first).toEqual(second);
  });

  it('EV-22: may be signed by a key below the endorsement key', async () => {
    const parent = computeQualifiedName(hierarchyName(Hierarchy.endorsement), machine.name);
    const quote = machine.quote({ qualifiedSigner: computeQualifiedName(parent, machine.name) });
    expect(await codes(await machine.evidence(quote))).toEqual(['accepted']);
  });
});

describe('authenticity', () => {
  it('EV-20: refuses what a caller shaped like a quote', async () => {
    const evidence = await machine.evidence(machine.quote({ magic: 0x00544347 }));
    expect(await codes(evidence)).toEqual(['tpm-quote-magic']);
  });

  it('EV-20: refuses another kind of statement', async () => {
    const { attested: _, ...head } = machine.quote();
    const certify: CertifyAttest = {
      ...head,
      type: AttestType.certify,
      attested: { name: machine.name, qualifiedName: machine.name },
    };
    expect(await codes(await machine.evidence(encode(attest, certify, 'attest')))).toEqual([
      'tpm-quote-type',
    ]);
  });

  it('EV-22: refuses an empty signer and a signer of another hierarchy', async () => {
    const owner = computeQualifiedName(hierarchyName(Hierarchy.owner), machine.name);
    for (const qualifiedSigner of [new Uint8Array(0), machine.name, owner]) {
      expect(await codes(await machine.evidence(machine.quote({ qualifiedSigner })))).toEqual([
        'tpm-quote-signer',
      ]);
    }
  });

  it('EV-23: refuses another, a cut and an empty device value', async () => {
    const { expectedDeviceValue: value } = machine.inputs;
    for (const extraData of [new Uint8Array(32), value.subarray(0, 31), new Uint8Array(0)]) {
      expect(await codes(await machine.evidence(machine.quote({ extraData })))).toEqual([
        'tpm-quote-binding',
      ]);
    }
    expect(await codes(good, { expectedDeviceValue: new Uint8Array(32) })).toEqual(['tpm-quote-binding']);
  });

  it('EV-24: refuses an empty bitmap, another bank, fewer PCRs and a second bank', async () => {
    const { pcrDigest } = machine.quote().attested;
    const full = machine.quote().attested.pcrSelect[0]!;
    const selections = [
      [{ ...full, select: new Uint8Array(3) }],
      [{ ...full, hash: Algorithm.sha384 }],
      [{ ...full, select: Uint8Array.of(0x83, 0x08, 0) }],
      [full, { ...full, hash: Algorithm.sha1 }],
      [full, full],
      [],
    ];
    for (const pcrSelect of selections) {
      const evidence = await machine.evidence(machine.quote({ attested: { pcrSelect, pcrDigest } }));
      expect(await codes(evidence)).toEqual(['tpm-quote-selection']);
    }
  });

  it('EV-24: refuses invented, missing and additional PCR values', async () => {
    const values = (good['pcrs'] as { readonly sha256: Document }).sha256;
    const { 11: _, ...missing } = values as Readonly<Record<number, string>>;
    expect(await codes({ ...good, pcrs: { sha256: { ...values, 7: '11'.repeat(32) } } })).toEqual([
      'tpm-quote-digest',
    ]);
    expect(await codes({ ...good, pcrs: { sha256: missing as Document } })).toEqual(['tpm-quote-values']);
    expect(await codes({ ...good, pcrs: { sha256: { ...values, 9: '11'.repeat(32) } } })).toEqual([
      'tpm-quote-values',
    ]);
    expect(await codes({ ...good, pcrs: { sha384: values } })).toEqual(['tpm-quote-values']);
    expect(await codes({ ...good, pcrs: {} })).toEqual(['tpm-evidence-banks']);
  });

  it('EV-21: refuses a signature of another scheme or key without looking further', async () => {
    const other = await makeSoftwareAttester();
    const bytes = encode(attest, machine.quote(), 'attest');
    const rsa = await makeSoftwareAttester('rsa-2048');
    const signed = async (by: SoftwareAttester): Promise<Document> => ({
      ...good,
      signature: toBase64(await by.sign(bytes)),
    });
    expect(await codes(await signed(other))).toEqual(['tpm-quote-signature']);
    expect(await codes(await signed(rsa))).toEqual(['tpm-quote-signature-scheme']);
    const pss = await makeSoftwareAttester('rsa-pss-2048');
    const mixed = { ...((await rsa.evidence()) as Document), signature: toBase64(await pss.sign(bytes)) };
    expect(await codes(mixed, {}, rsa)).toEqual(['tpm-quote-signature-scheme']);
  });
});

describe('the machine', () => {
  it('EV-18: refuses a key without a record, with the record of another key, and another lab', async () => {
    expect(await codes(good, { enrolment: undefined })).toEqual(['tpm-not-enrolled']);
    const akName = `000b${'11'.repeat(32)}`;
    expect(await codes(good, { enrolment: record({ akName }) })).toEqual(['tpm-other-key']);
    expect(await codes(good, { lab: 'lab-two' })).toEqual(['tpm-other-lab']);
  });

  it('EV-19: refuses a machine whose anchor was withdrawn, whatever the name of the new one', async () => {
    const certificate = makeAuthority('Another TPM vendor').der;
    const anchors = [{ name: machine.anchor.name, certificate, simulated: false }];
    expect(await codes(good, { anchors })).toEqual(['tpm-anchor-withdrawn']);
    expect(await codes(good, { anchors: [] })).toEqual(['tpm-anchor-withdrawn']);
  });

  it('EV-19: takes from the anchor alone whether the hardware is simulated', async () => {
    for (const simulated of [true, false]) {
      const verdict = await tpmDeviceClass.verify(tpmDeviceClass.parse(good, 'evidence'), {
        ...machine.inputs,
        anchors: [{ ...machine.anchor, simulated }],
      });
      expect(verdict).toMatchObject({ outcome: 'accepted', claims: { simulated } });
    }
  });
});

describe('appraisal', () => {
  it('EV-25: refuses without reference values', async () => {
    expect(await codes(good, { referenceValues: [] })).toEqual(['tpm-reference-missing']);
  });

  it('EV-25: refuses a PCR that differs and says which', async () => {
    const pcrs = {
      ...((machine.inputs.referenceValues[0] as Document)['pcrs'] as Document),
      4: ['22'.repeat(32)],
    };
    const verdict = await tpmDeviceClass.verify(tpmDeviceClass.parse(good, 'evidence'), {
      ...machine.inputs,
      referenceValues: [reference({ pcrs })],
    });
    expect(verdict).toMatchObject({
      outcome: 'refused',
      family: 'unacceptable',
      refusals: [{ code: 'tpm-pcr-value', field: 'pcrs.4', expected: '22'.repeat(32) }],
    });
  });

  it('EV-25: does not piece one good state together from two', async () => {
    const value = toHex(machine.pcrs.get(4)!);
    const other = toHex(machine.pcrs.get(7)!);
    const first = reference({ name: 'first', pcrs: { 4: [value], 7: ['33'.repeat(32)] } });
    const second = reference({ name: 'second', pcrs: { 4: ['33'.repeat(32)], 7: [other] } });
    expect(await codes(good, { referenceValues: [first, second] })).toEqual(['tpm-pcr-value']);
    const right = reference({ name: 'right', pcrs: { 4: ['33'.repeat(32), value], 7: [other] } });
    expect(await codes(good, { referenceValues: [first, second, right] })).toEqual(['accepted']);
  });

  it('EV-26: refuses reference values for PCRs that prove nothing or were not quoted', async () => {
    for (const pcr of [16, 17, 23, 9]) {
      const pcrs = { 4: [toHex(machine.pcrs.get(4)!)], [pcr]: ['44'.repeat(32)] };
      expect(await codes(good, { referenceValues: [reference({ pcrs })] })).toEqual([
        'tpm-reference-unreliable',
      ]);
    }
  });

  it('EV-27: refuses a PCR that nothing was measured into, even if the reference values ask for it', async () => {
    for (const byte of [0x00, 0xff]) {
      const unused = new Uint8Array(32).fill(byte);
      const values = PCRS.map((pcr) => (pcr === 4 ? unused : machine.pcrs.get(pcr)!));
      const pcrDigest = sha256(Buffer.concat(values));
      const quote = machine.quote({ attested: { ...machine.quote().attested, pcrDigest } });
      const evidence = (await machine.evidence(quote)) as Document;
      const sent = { ...(evidence['pcrs'] as { readonly sha256: Document }).sha256, 4: toHex(unused) };
      const referenceValues = [reference({ pcrs: { 4: [toHex(unused)] } })];
      expect(await codes({ ...evidence, pcrs: { sha256: sent } }, { referenceValues })).toEqual([
        'tpm-pcr-initial',
      ]);
    }
  });

  it('EV-28: refuses a clock or counter behind the record, and accepts one ahead', async () => {
    const seen = (clock: string, resetCount: number, restartCount: number) => ({
      enrolment: record({ lastSeen: { clock, resetCount, restartCount, at: 0, ratchet: null } }),
    });
    expect(await codes(good, seen('5001', 7, 1))).toEqual(['tpm-clock-rollback']);
    expect(await codes(good, seen('0', 7, 2))).toEqual(['tpm-clock-rollback']);
    expect(await codes(good, seen('0', 8, 0))).toEqual(['tpm-clock-rollback']);
    expect(await codes(good, seen('5000', 7, 1))).toEqual(['accepted']);
    expect(await codes(good, seen('9999', 7, 0))).toEqual(['accepted']);
    expect(await codes(good, seen('9999', 6, 9))).toEqual(['accepted']);
  });

  it('EV-17, EV-28: remembers the clock of accepted evidence', async () => {
    const verdict = await tpmDeviceClass.verify(tpmDeviceClass.parse(good, 'evidence'), machine.inputs);
    if (verdict.outcome !== 'accepted') throw new Error('refused');
    const enrolment = withLastSeen(machine.inputs.enrolment!, verdict.claims, machine.inputs.time);
    const at = machine.inputs.time;
    const lastSeen = { clock: '5000', resetCount: 7, restartCount: 1, at, ratchet: null };
    expect(enrolment).toEqual(record({ lastSeen }));
    expect(await codes(good, { enrolment })).toEqual(['accepted']);
    const { clockInfo } = machine.quote();
    const older = await machine.evidence(machine.quote({ clockInfo: { ...clockInfo, clock: 4999n } }));
    expect(await codes(older, { enrolment })).toEqual(['tpm-clock-rollback']);
  });

  it('EV-29: refuses an unsafe clock unless the policy allows it', async () => {
    const { clockInfo } = machine.quote();
    const evidence = await machine.evidence(machine.quote({ clockInfo: { ...clockInfo, safe: 0 } }));
    expect(await codes(evidence)).toEqual(['tpm-clock-unsafe']);
    expect(await codes(evidence, { policy: policy({ allowUnsafeClock: true }) })).toEqual(['accepted']);
  });

  it('EV-30: refuses denied firmware of this manufacturer only', async () => {
    const denied = (manufacturer: string) => ({
      policy: policy({
        deniedFirmware: [{ manufacturer, from: '2019000000000000', to: '2019102300163636' }],
      }),
    });
    expect(await codes(good, denied('id:00001014'))).toEqual(['tpm-firmware-denied']);
    expect(await codes(good, denied('id:49465800'))).toEqual(['accepted']);
  });

  it('reports everything that is wrong with an authentic quote at once', async () => {
    const { clockInfo } = machine.quote();
    const evidence = await machine.evidence(machine.quote({ clockInfo: { ...clockInfo, safe: 0 } }));
    const found = await codes(evidence, { referenceValues: [reference({ pcrs: { 4: ['22'.repeat(32)] } })] });
    expect(found).toEqual(['tpm-clock-unsafe', 'tpm-pcr-value']);
  });
});

describe('documents of the verifier', () => {
  it('EV-31: refuses a policy that leaves something out or is out of order', async () => {
    const { allowUnsafeClock: _, ...partial } = machine.inputs.policy as Document;
    expect(await codes(good, { policy: partial })).toEqual(['shape-member']);
    expect(await codes(good, { policy: policy({ pcrs: [7, 4] }) })).toEqual(['tpm-document']);
    expect(await codes(good, { policy: policy({ bank: 'sha1' }) })).toEqual(['shape-value']);
    expect(await codes(good, { policy: policy({ pcrs: [] }) })).toEqual(['shape-value']);
  });

  it('EV-32: refuses reference values without a PCR or of another length', async () => {
    expect(await codes(good, { referenceValues: [reference({ pcrs: {} })] })).toEqual(['tpm-document']);
    const pcrs = { 4: ['22'.repeat(48)] };
    expect(await codes(good, { referenceValues: [reference({ pcrs })] })).toEqual(['tpm-document']);
  });
});

describe('altered evidence', () => {
  it('EV-5, EV-7: refuses every flipped byte of public area, attest and signature', async () => {
    for (const member of ['akPublic', 'attest', 'signature'] as const) {
      const bytes = Buffer.from(good[member] as string, 'base64');
      for (let at = 0; at < bytes.length; at += 1) {
        const flipped = Uint8Array.from(bytes, (byte, i) => (i === at ? byte ^ 0x01 : byte));
        const found = await codes({ ...good, [member]: toBase64(flipped) });
        expect({ member, at, found }).not.toMatchObject({ found: ['accepted'] });
      }
    }
  });

  it('EV-7: refuses a cut and an appended byte', async () => {
    for (const member of ['akPublic', 'attest', 'signature'] as const) {
      const bytes = Buffer.from(good[member] as string, 'base64');
      const cut = toBase64(bytes.subarray(0, -1));
      expect(await codes({ ...good, [member]: cut })).toEqual(['layout-truncated']);
      const longer = toBase64(Buffer.concat([bytes, Buffer.alloc(1)]));
      expect(await codes({ ...good, [member]: longer })).toEqual(['layout-trailing']);
    }
  });

  it('EV-6: refuses unknown and missing members', async () => {
    expect(await codes({ ...good, note: 'x' })).toEqual(['shape-member']);
    const { signature: _, ...partial } = good;
    expect(await codes(partial)).toEqual(['shape-member']);
  });

  it('EV-5: answers any bytes in any member with a refusal', async () => {
    const member = fc.constantFrom('akPublic', 'attest', 'signature');
    await fc.assert(
      fc.asyncProperty(member, fc.uint8Array({ maxLength: 400 }), async (name, bytes) => {
        expect(await codes({ ...good, [name]: toBase64(bytes) })).not.toEqual(['accepted']);
      }),
      { numRuns: 300 },
    );
  });

  it('EV-5: answers any JSON with a refusal', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ maxDepth: 4 }), async (value) => {
        expect(await codes(value as JsonValue)).not.toEqual(['accepted']);
      }),
    );
  });
});
