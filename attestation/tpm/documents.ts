/**
 * The JSON documents of the verifier's side that the verdict on a TPM depends on: the enrolment record, the appraisal
 * policy and reference values. All three are logged or published, so that a decision can be derived again (W10).
 */

import { toHex } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import {
  booleanShape,
  hexShape,
  integerShape,
  listShape,
  literalShape,
  mapShape,
  nullableShape,
  objectShape,
  textShape,
} from '../core/json-shape.ts';
import type { Shape } from '../core/json-shape.ts';
import { defineRefusals } from '../core/refusal.ts';
import { bootPolicyShape, demandedRules, referencedRules, requiredRegisters } from './boot/policy.ts';
import type { BootPolicy } from './boot/policy.ts';
import { bootReferenceShape, isEmptyReference } from './boot/reference.ts';
import type { BootReference } from './boot/reference.ts';
import { tpmHash } from './hash.ts';
import type { TpmHash } from './hash.ts';
import { Algorithm } from './layout.ts';
import { PCR_COUNT } from './pcr-selection.ts';
import type { PcrSelection } from './pcr-selection.ts';
import { provenanceShape } from './provenance.ts';

export const documentRefusals = defineRefusals('malformed', {
  'tpm-document': {
    means: 'A policy or a set of reference values for TPMs contradicts itself.',
    hint: 'Name each PCR once, in ascending order, and values as long as the bank’s digest.',
  },
});

const digestShape = hexShape({ bytes: [32] });
/** A Name under SHA-256, SHA-384 or SHA-512. */
const nameShape = hexShape({ bytes: [34, 50, 66] });
const lineShape = textShape({ pattern: /^[\x20-\x7e]{1,200}$/ });
const decimalShape = textShape({ pattern: /^(?:0|[1-9][0-9]{0,19})$/ });
const firmwareShape = hexShape({ bytes: [8] });
const manufacturerShape = textShape({ pattern: /^id:[0-9A-Fa-f]{8}$/ });
const u32Shape = integerShape({ min: 0, max: 0xffffffff });

/** Names of the banks that may be quoted. SHA-1 is not among them. */
const BANKS: Readonly<Record<'sha256' | 'sha384', TpmHash>> = {
  sha256: tpmHash(Algorithm.sha256, 'bank'),
  sha384: tpmHash(Algorithm.sha384, 'bank'),
};
const bankShape: Shape<TpmHash> = (value, path) => BANKS[literalShape('sha256', 'sha384')(value, path)];

const recordShape = objectShape({
  version: literalShape(1),
  class: literalShape('tpm'),
  lab: lineShape,
  akName: nameShape,
  ekName: nameShape,
  ekPublicDigest: digestShape,
  ekCertificateDigest: digestShape,
  anchorDigest: digestShape,
  manufacturer: manufacturerShape,
  model: lineShape,
  lastSeen: nullableShape(
    objectShape({
      clock: decimalShape,
      resetCount: u32Shape,
      restartCount: u32Shape,
      at: integerShape({ min: 0, max: 2 ** 40 }),
      ratchet: nullableShape(digestShape),
    }),
  ),
  frozen: nullableShape(textShape({ pattern: /^[a-z0-9-]{1,60}$/ })),
});

/**
 * What enrolment recorded. `akName` went through credential activation with the endorsement key of `ekPublicDigest`;
 * `anchorDigest` is the SHA-256 of the SubjectPublicKeyInfo of the anchor that its certificate led to; `lastSeen` is
 * the clock of the last accepted quote, with the POSIX time at which it was judged and the value of the ratchet, null
 * before the first; `frozen` is the code of what froze the machine (docs/spec/lease-clock.md, section 4), null as a rule.
 */
export type TpmEnrolmentRecord = ReturnType<typeof recordShape>;

/** @throws RefusalError `shape-*` */
export function readEnrolmentRecord(value: JsonValue): TpmEnrolmentRecord {
  return recordShape(value, 'enrolment');
}

/** Writes what {@link readEnrolmentRecord} reads. */
export function writeEnrolmentRecord(record: TpmEnrolmentRecord): JsonValue {
  return {
    ...record,
    akName: toHex(record.akName),
    ekName: toHex(record.ekName),
    ekPublicDigest: toHex(record.ekPublicDigest),
    ekCertificateDigest: toHex(record.ekCertificateDigest),
    anchorDigest: toHex(record.anchorDigest),
    lastSeen: record.lastSeen && {
      ...record.lastSeen,
      ratchet: record.lastSeen.ratchet && toHex(record.lastSeen.ratchet),
    },
  };
}

const policyShape = objectShape({
  version: literalShape(2),
  class: literalShape('tpm'),
  bank: bankShape,
  pcrs: listShape({ minItems: 1, maxItems: PCR_COUNT }, integerShape({ min: 0, max: PCR_COUNT - 1 })),
  registers: literalShape('reference', 'any'),
  boot: bootPolicyShape,
  ratchet: literalShape('none', 'required', 'exclusive'),
  allowUnsafeClock: booleanShape,
  deniedFirmware: listShape(
    { minItems: 0, maxItems: 1000 },
    objectShape({ manufacturer: manufacturerShape, from: firmwareShape, to: firmwareShape }),
  ),
});

/**
 * What the operator demands of TPMs. `bank` and `pcrs` are what the challenge asks for; `registers` says whether their values
 * are judged by reference values, `boot` how the logs that explain them are; `ratchet` whether the TPM has to prove that it is
 * no copy (docs/spec/lease-clock.md, section 3); `deniedFirmware` are ranges of firmwareVersion,
 * both ends included, whose keys are known to be at risk; after an unclean stop a TPM calls its clock unsafe until it has
 * caught up, and `allowUnsafeClock` says whether to accept that.
 */
export interface TpmPolicy {
  readonly selection: PcrSelection;
  readonly registers: 'reference' | 'any';
  readonly boot: BootPolicy | 'any';
  readonly ratchet: 'none' | 'required' | 'exclusive';
  readonly allowUnsafeClock: boolean;
  readonly deniedFirmware: ReturnType<typeof policyShape>['deniedFirmware'];
}

/** @throws RefusalError `shape-*`, `tpm-document` */
export function readPolicy(value: JsonValue): TpmPolicy {
  const { bank, pcrs, registers, boot, ...rest } = policyShape(value, 'policy');
  if (!pcrs.every((pcr, i) => i === 0 || pcr > (pcrs[i - 1] ?? pcr))) {
    refuseDocument('policy.pcrs', 'PCR numbers in ascending order, each once', pcrs.join(', '));
  }
  demandJudgement(registers, boot);
  const missing = requiredRegisters(boot).filter((pcr) => !pcrs.includes(pcr));
  if (missing.length > 0) {
    refuseDocument(
      'policy.pcrs',
      'every register that the rules of the boot read',
      `no ${missing.join(', ')}`,
    );
  }
  const { ratchet, allowUnsafeClock, deniedFirmware } = rest;
  return { selection: { bank, pcrs }, registers, boot, ratchet, allowUnsafeClock, deniedFirmware };
}

/** BC-9: a boot that any signed software passes, or that nobody looks at, is not judged. */
function demandJudgement(registers: TpmPolicy['registers'], boot: TpmPolicy['boot']): void {
  if (boot !== 'any' && demandedRules(boot).length === 0) {
    refuseDocument('policy.boot', 'a rule, or any in place of rules that demand nothing', 'nothing demanded');
  }
  if (registers === 'any' && referencedRules(boot).length === 0) {
    const expected = 'registers, or a rule of the boot, that reference values decide';
    refuseDocument('policy', expected, 'nothing that they decide');
  }
}

function refuseDocument(field: string, expected: string, found: string): never {
  throw documentRefusals.error('tpm-document', { field, expected, found });
}

const pcrName = /^(?:[0-9]|1[0-9]|2[0-3])$/;

const referenceShape = objectShape({
  version: literalShape(2),
  class: literalShape('tpm'),
  name: lineShape,
  bank: bankShape,
  pcrs: mapShape(
    { name: pcrName, maxMembers: PCR_COUNT },
    listShape({ minItems: 1, maxItems: 64 }, hexShape({ bytes: [32, 48] })),
  ),
  boot: bootReferenceShape,
  provenance: provenanceShape,
});

/** One state that is known to be good: for each PCR that counts, the values that it may have, and what was booted. */
export interface TpmReferenceValues {
  readonly name: string;
  readonly bank: TpmHash;
  readonly pcrs: ReadonlyMap<number, readonly Uint8Array[]>;
  /** Null where the document speaks of registers alone. */
  readonly boot: BootReference | null;
}

/** @throws RefusalError `shape-*`, `tpm-document` */
export function readReferenceValues(value: JsonValue): TpmReferenceValues {
  const { name, bank, pcrs, boot } = referenceShape(value, 'referenceValues');
  const field = `referenceValues ${name}`;
  if (boot !== null && isEmptyReference(boot)) {
    refuseDocument(`${field}.boot`, 'something that was booted, or null', 'nothing');
  }
  if (pcrs.size === 0 && boot === null) {
    refuseDocument(field, 'at least one PCR, or something that was booted', 'neither');
  }
  if (![...pcrs.values()].flat().every((digest) => digest.length === bank.bytes)) {
    refuseDocument(field, `values of ${bank.bytes} bytes`, 'values of another length');
  }
  return { name, bank, pcrs: new Map([...pcrs].map(([pcr, values]) => [Number(pcr), values])), boot };
}
