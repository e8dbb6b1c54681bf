/**
 * Appraisal of an authentic quote (docs/spec/evidence.md, section 6): whether the state that it reports is one that
 * the operator wants. Unlike authenticity it goes on after a failure, so that a person sees all that is wrong.
 */

import { equalBytes, toHex } from '../core/bytes.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import { appraiseBoot } from './boot/appraise.ts';
import { bootReferenceChecks, compareBoot } from './boot/compare.ts';
import type { ReferenceCheck } from './boot/compare.ts';
import type { BootFacts } from './boot/facts.ts';
import { referencedRules } from './boot/policy.ts';
import { appraiseIma } from './ima/appraise.ts';
import type { TpmEnrolmentRecord, TpmPolicy, TpmReferenceValues } from './documents.ts';
import type { QuoteAttest } from './layout.ts';

export const appraisalChecks = defineChecks('unacceptable', {
  'tpm-reference-missing': {
    means: 'There are no reference values for the bank that was quoted that state what the policy judges by.',
    hint: 'Record the state of a machine that is known to be good and add it to the reference values.',
    protects: 'A machine in any state would be accepted.',
  },
  'tpm-reference-unreliable': {
    means: 'Reference values rely on PCRs that were not quoted or that prove nothing.',
    hint: 'Use PCR 0 to 15. PCR 16 and 23 can be reset by anybody, 17 to 22 need a measured late launch.',
    protects: 'Software could bring such a PCR to any value at any time.',
  },
  'tpm-pcr-initial': {
    means: 'A PCR that counts still has the value of an unused register.',
    hint: 'The firmware did not measure, or measured into another bank: enable the TPM and the bank in its setup.',
    protects: 'Software that runs later could extend the known-good values itself.',
  },
  'tpm-pcr-value': {
    means: 'A PCR has a value that is in no set of reference values.',
    hint: 'The machine booted something else: restore it, or have the new state approved and recorded.',
    protects: 'A machine that runs other firmware, boot loader, kernel or commands would get the key.',
  },
  'tpm-clock-rollback': {
    means: 'The TPM’s clock or counters are behind those of the last accepted quote.',
    hint: 'The TPM was cleared or set back. Find out which; then the lab enrols it anew: weightgate agent enrol --anew.',
    protects: 'An earlier state of the TPM could be brought back, or a reboot hidden.',
  },
  'tpm-clock-unsafe': {
    means: 'The TPM does not vouch for its clock, as after an unclean stop.',
    hint: 'Wait until the TPM has caught up, about 70 minutes at most, or shut it down cleanly.',
    protects: 'A clock value could be seen twice.',
  },
  'tpm-firmware-denied': {
    means: 'The TPM’s firmware has a known weakness.',
    hint: 'Install the vendor’s firmware update and make new keys.',
    protects: 'Keys could have been read out of such a TPM.',
  },
});

/** What the appraisal of a quote depends on. */
export interface AppraisalInputs {
  readonly record: Pick<TpmEnrolmentRecord, 'lastSeen' | 'manufacturer'>;
  readonly policy: TpmPolicy;
  readonly referenceValues: readonly TpmReferenceValues[];
  /** What the logs say of the boot; null exactly where the policy has no rules for it. */
  readonly boot: BootFacts | null;
}

/** Appraises and returns the reference values that the machine matches, or comes nearest to; undefined if there are none. */
export function appraise(
  quote: QuoteAttest,
  pcrs: ReadonlyMap<number, Uint8Array>,
  inputs: AppraisalInputs,
  checks: Checklist,
): TpmReferenceValues | undefined {
  noteClock(quote, inputs, checks);
  noteFirmware(quote, inputs, checks);
  const { policy, boot, referenceValues } = inputs;
  if (boot !== null && policy.boot !== 'any') appraiseBoot(boot, policy.boot, checks);
  noteFiles(inputs, pcrs, checks);
  const candidates = referenceValues.filter((reference) => isCandidate(reference, policy));
  checks.note(appraisalChecks, 'tpm-reference-missing', candidates.length > 0, {
    field: 'referenceValues',
    expected: `at least one set for bank ${policy.selection.bank.bank} with what the policy judges by`,
    found: String(candidates.length),
  });
  const nearest = nearestReference(candidates, inputs, pcrs);
  if (nearest === undefined) return undefined;
  if (policy.registers === 'reference') notePcrs(nearest, pcrs, checks);
  for (const { code, holds, facts } of bootChecksOf(nearest, inputs)) {
    checks.note(bootReferenceChecks, code, holds, facts);
  }
  return nearest;
}

/** A set without registers, or without a boot, must not pass where the policy judges by them. */
function isCandidate({ bank, pcrs, boot }: TpmReferenceValues, policy: TpmPolicy): boolean {
  const hasRegisters = policy.registers === 'any' || pcrs.size > 0;
  const hasBoot = boot !== null || referencedRules(policy.boot).every((rule) => rule === 'files');
  return bank === policy.selection.bank && hasRegisters && hasBoot;
}

function bootChecksOf(
  { boot: reference, bank }: TpmReferenceValues,
  { policy, boot }: AppraisalInputs,
): readonly ReferenceCheck[] {
  const isJudged = boot !== null && policy.boot !== 'any' && reference !== null;
  return isJudged ? compareBoot(boot, policy.boot, reference, bank) : [];
}

/** BC-20: the lists of files of all sets together, as one alone may be too long for a document. */
function noteFiles(
  { policy, boot, referenceValues }: AppraisalInputs,
  pcrs: ReadonlyMap<number, Uint8Array>,
  checks: Checklist,
): void {
  if (boot === null || boot.files === null) return;
  const { bank } = policy.selection;
  const allowed = new Map<string, readonly Uint8Array[]>();
  for (const { boot: reference, bank: referenceBank } of referenceValues) {
    if (reference === null || referenceBank !== bank) continue;
    for (const [path, digests] of reference.files) {
      allowed.set(path, [...(allowed.get(path) ?? []), ...digests]);
    }
  }
  appraiseIma(boot.files, bank, pcrs, allowed, checks);
}

/** PCR 16 and 23 can be reset by any software; 17 to 22 mean something only after a late launch that we verify. */
const LAST_RELIABLE_PCR = 15;

/** The set with the fewest differences: when it has none the machine is in that state. */
function nearestReference(
  candidates: readonly TpmReferenceValues[],
  inputs: AppraisalInputs,
  pcrs: ReadonlyMap<number, Uint8Array>,
): TpmReferenceValues | undefined {
  const judged = inputs.policy.registers === 'reference';
  const differences = (reference: TpmReferenceValues): number =>
    [...reference.pcrs].filter(([pcr, values]) => judged && !isAmong(pcrs.get(pcr), values)).length +
    bootChecksOf(reference, inputs).filter(({ holds }) => !holds).length;
  return candidates.toSorted((left, right) => differences(left) - differences(right))[0];
}

function isAmong(value: Uint8Array | undefined, values: readonly Uint8Array[]): boolean {
  return value !== undefined && values.some((known) => equalBytes(known, value));
}

function notePcrs(
  reference: TpmReferenceValues,
  pcrs: ReadonlyMap<number, Uint8Array>,
  checks: Checklist,
): void {
  const unreliable = [...reference.pcrs.keys()].filter((pcr) => pcr > LAST_RELIABLE_PCR || !pcrs.has(pcr));
  checks.note(appraisalChecks, 'tpm-reference-unreliable', unreliable.length === 0, {
    field: `referenceValues ${reference.name}`,
    expected: `quoted PCRs up to ${LAST_RELIABLE_PCR}`,
    found: unreliable.length === 0 ? 'no others' : `PCR ${unreliable.join(', ')}`,
  });
  for (const [pcr, values] of reference.pcrs) {
    const value = pcrs.get(pcr);
    if (value === undefined) continue;
    notePcr(pcr, value, values, checks);
  }
}

function notePcr(pcr: number, value: Uint8Array, values: readonly Uint8Array[], checks: Checklist): void {
  const [first] = value;
  const isInitial = (first === 0 || first === 0xff) && value.every((byte) => byte === first);
  checks.note(appraisalChecks, 'tpm-pcr-initial', !isInitial, {
    field: `pcrs.${pcr}`,
    expected: 'a measured value',
    found: toHex(value),
  });
  checks.note(appraisalChecks, 'tpm-pcr-value', isAmong(value, values), {
    field: `pcrs.${pcr}`,
    expected: values.map(toHex).join(' or '),
    found: toHex(value),
  });
}

function noteClock(quote: QuoteAttest, { record, policy }: AppraisalInputs, checks: Checklist): void {
  const { clock, resetCount, restartCount, safe } = quote.clockInfo;
  const { lastSeen } = record;
  checks.note(
    appraisalChecks,
    'tpm-clock-rollback',
    lastSeen === null || !isBehind(quote.clockInfo, lastSeen),
    {
      field: 'attest.clockInfo',
      expected:
        lastSeen === null
          ? 'any, as this is the first quote'
          : `at least ${lastSeen.resetCount}/${lastSeen.restartCount}/${lastSeen.clock}`,
      found: `${resetCount}/${restartCount}/${clock} (resets/restarts/milliseconds)`,
    },
  );
  checks.note(appraisalChecks, 'tpm-clock-unsafe', safe === 1 || policy.allowUnsafeClock, {
    field: 'attest.clockInfo.safe',
    expected: policy.allowUnsafeClock ? '0 or 1' : '1',
    found: String(safe),
  });
}

/** Resets count before restarts, and both before the clock, which may only be compared within one of each. */
function isBehind(now: QuoteAttest['clockInfo'], last: NonNullable<TpmEnrolmentRecord['lastSeen']>): boolean {
  if (now.resetCount !== last.resetCount) return now.resetCount < last.resetCount;
  if (now.restartCount !== last.restartCount) return now.restartCount < last.restartCount;
  return now.clock < BigInt(last.clock);
}

function noteFirmware(quote: QuoteAttest, { record, policy }: AppraisalInputs, checks: Checklist): void {
  const { firmwareVersion } = quote;
  const isDenied = policy.deniedFirmware.some(
    ({ manufacturer, from, to }) =>
      manufacturer.toLowerCase() === record.manufacturer.toLowerCase() &&
      firmwareVersion >= BigInt(`0x${toHex(from)}`) &&
      firmwareVersion <= BigInt(`0x${toHex(to)}`),
  );
  checks.note(appraisalChecks, 'tpm-firmware-denied', !isDenied, {
    field: 'attest.firmwareVersion',
    expected: 'a version that is not on the deny list',
    found: `${record.manufacturer} ${firmwareVersion.toString(16).padStart(16, '0')}`,
  });
}
