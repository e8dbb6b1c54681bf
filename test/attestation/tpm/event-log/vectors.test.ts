/** Logs of real machines, driven by the manifest of the vectors alone (docs/spec/tpm-event-log.md). */

import { describe, expect, it } from 'vitest';

import { toHex } from '../../../../attestation/core/bytes.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import { coverageOf } from '../../../../attestation/tpm/event-log/coverage.ts';
import { EventType, eventTypeName } from '../../../../attestation/tpm/event-log/event-types.ts';
import { readEventLog } from '../../../../attestation/tpm/event-log/read.ts';
import type { EventLog } from '../../../../attestation/tpm/event-log/read.ts';
import { replayEventLog, startupLocality } from '../../../../attestation/tpm/event-log/replay.ts';
import { readSecureBoot } from '../../../../attestation/tpm/event-log/secure-boot.ts';
import { readUefiVariable } from '../../../../attestation/tpm/event-log/uefi-variable.ts';
import { tpmHash } from '../../../../attestation/tpm/hash.ts';
import { Algorithm } from '../../../../attestation/tpm/layout.ts';
import { vectorEntries, vectorFile, vectorsMissing } from '../../../support/vectors.ts';
import type { VectorEntry } from '../../../support/vectors.ts';

interface ExpectedLog {
  readonly format: string;
  readonly algs?: readonly string[];
  readonly events?: number;
  readonly tail?: string | null;
  readonly replayPcrs?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly eventTypes?: Readonly<Record<string, number>>;
  readonly digestEqualsHashOfEventData?: {
    readonly bank: string;
    readonly perType: Readonly<Record<string, string>>;
  };
  readonly variables?: Readonly<Record<string, string>>;
  readonly separators?: Readonly<Record<string, readonly string[]>>;
  readonly exitBootServices?: readonly string[];
  readonly startupLocality?: number | null;
}

const missing = vectorsMissing('tpm');
const entries = missing === undefined ? vectorEntries<ExpectedLog>('tpm', 'eventlog') : [];
const bytesOf = (entry: VectorEntry<unknown>): Uint8Array => vectorFile('tpm', entry, 'eventlog');

const BANKS: ReadonlyMap<string, number> = new Map([
  ['sha1', Algorithm.sha1],
  ['sha256', Algorithm.sha256],
  ['sha384', Algorithm.sha384],
  ['sha512', Algorithm.sha512],
]);

/** Whole logs; the manifest says of others that they break off or are no logs. */
const whole = entries.filter(
  ({ expected, verdict }) => verdict !== 'invalid' && !(typeof expected.tail === 'string'),
);
const broken = entries.filter((entry) => !whole.includes(entry));

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes).replace(/\0$/, '');

function countBy(names: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function typeNames(log: EventLog): readonly string[] {
  return log.events.map(({ type }) => eventTypeName(type) ?? `0x${type.toString(16)}`);
}

describe.skipIf(missing !== undefined)('boot event logs of real machines', () => {
  it('are there', () => {
    expect(whole.length).toBeGreaterThan(0);
    expect(broken.length).toBeGreaterThan(0);
  });

  it.each(whole)('EL-1, EL-2, EL-4: $id is read whole', (entry) => {
    const { expected } = entry;
    const log = readEventLog(bytesOf(entry));
    expect(log.format).toBe(expected.format.startsWith('legacy') ? 'legacy' : 'crypto-agile');
    expect(log.events).toHaveLength(expected.events ?? -1);
    if (expected.eventTypes !== undefined)
      expect(countBy(typeNames(log))).toMatchObject(withoutUnknown(expected.eventTypes));
  });

  it.each(whole)('EL-6, EL-7: $id replays to the registers of the machine', (entry) => {
    const { expected } = entry;
    const log = readEventLog(bytesOf(entry));
    for (const [bank, registers] of Object.entries(expected.replayPcrs ?? {})) {
      const algorithm = BANKS.get(bank);
      if (algorithm === undefined || Object.keys(registers).length === 0) continue;
      const replayed = [...replayEventLog(log, algorithm)].map(([pcr, value]) => [String(pcr), toHex(value)]);
      expect(Object.fromEntries(replayed)).toEqual(registers);
    }
    const declared = expected.startupLocality;
    if (typeof declared === 'number') expect(startupLocality(log)).toBe(declared);
  });

  it.each(whole)('EL-10: $id has as many covered events as stated', (entry) => {
    const stated = entry.expected.digestEqualsHashOfEventData;
    const algorithm = BANKS.get(stated?.bank ?? '');
    if (stated === undefined || algorithm === undefined || algorithm === Algorithm.sha1) {
      expect(['sha1', undefined]).toContain(stated?.bank);
      return;
    }
    const bank = tpmHash(algorithm, 'bank');
    const { events } = readEventLog(bytesOf(entry));
    for (const [name, count] of Object.entries(stated.perType)) {
      const ofType = events.filter(({ type }) => eventTypeName(type) === name);
      const covered = ofType.filter((event) => coverageOf(event, bank).covers === 'event');
      if (ofType.length > 0) expect(`${name} ${covered.length}/${ofType.length}`).toBe(`${name} ${count}`);
    }
  });

  it.each(whole)('$id has the separators, variables and actions that are stated', (entry) => {
    const { expected } = entry;
    const { events } = readEventLog(bytesOf(entry));
    const separators = events.filter(({ type }) => type === EventType.separator);
    for (const [pcr, data] of Object.entries(expected.separators ?? {})) {
      const found = separators.filter((event) => event.pcr === Number(pcr)).map((event) => toHex(event.data));
      expect(found).toEqual(data);
    }
    const exits = events
      .filter(({ pcr, type }) => pcr === 5 && type === EventType.efiAction)
      .map(({ data }) => text(data))
      .filter((action) => action.startsWith('Exit Boot Services'));
    expect(exits).toEqual(expected.exitBootServices ?? []);
    const variables = events
      .filter(({ type }) => type === EventType.efiVariableDriverConfig)
      .map(({ data }) => readUefiVariable(data, 'variable'));
    for (const [name, form] of Object.entries(expected.variables ?? {})) {
      expect(variables.filter((variable) => variable.name === name).map(({ data }) => shown(data))).toContain(
        form,
      );
    }
  });

  it.each(broken)('EL-1: $id gives nothing but a refusal', (entry) => {
    expect(() => readEventLog(bytesOf(entry))).toThrow(RefusalError);
  });

  it.each(whole)('EL-12 to EL-14: Secure Boot of $id is what its variable says, or refused', (entry) => {
    const log = readEventLog(bytesOf(entry));
    if (!log.algorithms.includes(Algorithm.sha256)) {
      expect(log.format).toBe('legacy');
      return;
    }
    const bank = tpmHash(Algorithm.sha256, 'bank');
    const stated = entry.expected.variables?.['SecureBoot'];
    if (entry.expected.separators?.['7'] === undefined) {
      expect(() => readSecureBoot(log, bank)).toThrow('event-log-secure-boot-order');
      return;
    }
    const states = { 'value 01': 'enabled', 'value 00': 'disabled', 'value (empty)': 'undefined' } as const;
    expect(readSecureBoot(log, bank).state).toBe(states[stated as keyof typeof states]);
  });
});

/** How the manifest writes the value of a variable. */
function shown(data: Uint8Array): string {
  if (data.length > 16) return `${data.length} bytes`;
  return data.length === 0 ? 'value (empty)' : `value ${toHex(data)}`;
}

function withoutUnknown(types: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(types).filter(([name]) => name.startsWith('EV_')));
}
