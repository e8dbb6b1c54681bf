/** Vectors of the kind `eventlog`: boot logs of machines, replayed and interpreted. */

import { z } from 'zod';

import { toHex } from '../../attestation/core/bytes.ts';
import { coverageOf } from '../../attestation/tpm/event-log/coverage.ts';
import { EventType, eventTypeName } from '../../attestation/tpm/event-log/event-types.ts';
import { readEventLog } from '../../attestation/tpm/event-log/read.ts';
import type { EventLog, LoggedEvent } from '../../attestation/tpm/event-log/read.ts';
import { replayEventLog, startupLocality } from '../../attestation/tpm/event-log/replay.ts';
import { readUefiVariable } from '../../attestation/tpm/event-log/uefi-variable.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { hashAlgorithm, hashName } from './vector-tpm-attest.ts';
import { expectedOf, fileOf, REMARK, refusalsOf, Unjudged } from './vector-tpm-case.ts';
import type { KindJudge, Members, TpmCase } from './vector-tpm-case.ts';
import { SHA1_REASON } from './vector-tpm-reasons.ts';

const statedShape = z.looseObject({
  parse: z.literal('refused').optional(),
  tail: z.string().nullable().optional(),
  replayPcrs: z.record(z.string(), z.unknown()).optional(),
  digestEqualsHashOfEventData: z.looseObject({ bank: z.string() }).optional(),
});

/** A log that breaks off gives nothing: what stands before the break is read by tools alone. */
const BROKEN = 'a log that breaks off is refused whole';

function isBroken(subject: TpmCase): boolean {
  const { parse, tail } = expectedOf(subject, statedShape);
  return parse === 'refused' || typeof tail === 'string';
}

export const eventLogJudge: KindJudge = {
  expectation: (subject) =>
    subject.vector.verdict !== 'edge' ? undefined : isBroken(subject) ? 'refused' : 'accepted',
  outcomes: async (subject) => [
    { label: '', codes: await refusalsOf(() => readEventLog(fileOf(subject, 'eventlog'))) },
  ],
  async members(subject) {
    const bytes = fileOf(subject, 'eventlog');
    const codes = await refusalsOf(() => readEventLog(bytes));
    return codes.length === 0 ? logMembers(subject, readEventLog(bytes)) : refusedMembers(subject);
  },
};

function refusedMembers({ vector }: TpmCase): Members {
  const broken = Object.keys(vector.expected).map((name) => [name, new Unjudged(BROKEN)] as const);
  return { ...Object.fromEntries(broken), ...('parse' in vector.expected && { parse: 'refused' }) };
}

async function logMembers(subject: TpmCase, log: EventLog): Promise<Members> {
  const { replayPcrs, digestEqualsHashOfEventData } = expectedOf(subject, statedShape);
  const { events } = log;
  const banks = Object.keys(replayPcrs ?? {});
  const replayed = await Promise.all(banks.map((bank) => replayMembers(log, bank)));
  return {
    format: log.format === 'legacy' ? 'legacy SHA-1' : 'crypto-agile (Spec ID Event03)',
    algs: log.algorithms.map(hashName),
    events: events.length,
    firstLegacyHeaderCounted: true,
    tail: null,
    replayPcrs: Object.fromEntries(banks.map((bank, i) => [bank, replayed[i]])),
    eventTypes: countBy(events.map(typeName)),
    digestEqualsHashOfEventData: coverageMembers(events, digestEqualsHashOfEventData?.bank ?? ''),
    ...interpretation(events),
    startupLocality: localityMember(log),
    replayConfirmed: REMARK,
  };
}

/** Nothing for a bank that the log names and has no digests of, or whose hash has no name here. */
async function replayMembers(log: EventLog, bank: string): Promise<Members> {
  if (bank.startsWith('0x')) return {};
  const replay = (): ReadonlyMap<number, Uint8Array> => replayEventLog(log, hashAlgorithm(bank));
  const codes = await refusalsOf(replay);
  if (codes.join() === 'event-log-bank') return {};
  return Object.fromEntries([...replay()].map(([pcr, value]) => [String(pcr), toHex(value)]));
}

function typeName({ type }: LoggedEvent): string {
  return eventTypeName(type) ?? `0x${type.toString(16)}`;
}

function countBy(names: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** For each type how many of its events are covered by the hash of their whole data. */
function coverageMembers(events: readonly LoggedEvent[], bankName: string): unknown {
  if (bankName === 'sha1') return new Unjudged(SHA1_REASON);
  const bank = tpmHash(hashAlgorithm(bankName), 'bank');
  const measured = events.filter(({ type }) => type !== EventType.noAction);
  const perType = Object.entries(countBy(measured.map(typeName))).map(([name, count]) => {
    const ofType = measured.filter((event) => typeName(event) === name);
    const covered = ofType.filter((event) => coverageOf(event, bank).covers === 'event');
    return [name, `${covered.length}/${count}`] as const;
  });
  return { bank: bankName, perType: Object.fromEntries(perType) };
}

function interpretation(events: readonly LoggedEvent[]): Members {
  const separators = events.filter(({ type }) => type === EventType.separator);
  const pcrs = [...new Set(separators.map(({ pcr }) => pcr))];
  const dataOf = (wanted: number): readonly string[] =>
    separators.filter(({ pcr }) => pcr === wanted).map(({ data }) => toHex(data));
  const variables = events
    .filter(({ type }) => type === EventType.efiVariableDriverConfig)
    .map(({ data }) => readUefiVariable(data, 'variable'));
  return {
    separators: Object.fromEntries(pcrs.map((pcr) => [String(pcr), dataOf(pcr)])),
    variables: Object.fromEntries(variables.map(({ name, data }) => [name, shown(data)])),
    exitBootServices: events
      .filter(({ pcr, type }) => pcr === 5 && type === EventType.efiAction)
      .map(({ data }) => new TextDecoder().decode(data).replace(/\0$/, ''))
      .filter((action) => action.startsWith('Exit Boot Services')),
  };
}

/** How the manifest writes the value of a variable. */
function shown(data: Uint8Array): string {
  if (data.length > 16) return `${data.length} bytes`;
  return data.length === 0 ? 'value (empty)' : `value ${toHex(data)}`;
}

const HCRTM_LOCALITY = 4;

/** Only what a record declares: the start after an H-CRTM is none. */
function localityMember(log: EventLog): number | null {
  const locality = startupLocality(log);
  return locality === 0 || locality === HCRTM_LOCALITY ? null : locality;
}
