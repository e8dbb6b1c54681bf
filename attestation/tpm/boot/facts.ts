/**
 * What a boot was, by the logs whose replay gives the quoted registers (docs/spec/tpm-boot.md, section 4). Only registers that a
 * rule relies on are read; of the others nothing is said.
 */

import { equalBytes, toHex } from '../../core/bytes.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import { readAgentLog } from '../agent-log/read.ts';
import type { AgentEvent } from '../agent-log/read.ts';
import { replayAgentLog } from '../agent-log/replay.ts';
import { eventLogChecks } from '../event-log/compare.ts';
import { EventType } from '../event-log/event-types.ts';
import { readEventLog } from '../event-log/read.ts';
import type { EventLog } from '../event-log/read.ts';
import { replayEventLog } from '../event-log/replay.ts';
import { readSecureBoot } from '../event-log/secure-boot.ts';
import type { SecureBootFacts } from '../event-log/secure-boot.ts';
import { demandSeparators } from '../event-log/separators.ts';
import type { MeasurementLogs } from '../evidence.ts';
import type { TpmHash } from '../hash.ts';
import { readImaList } from '../ima/read.ts';
import type { ImaEntry } from '../ima/read.ts';
import { provenEntries } from '../ima/replay.ts';
import { readImages } from './images.ts';
import { LOADER_REGISTERS, readLoaderRecords } from './loader.ts';
import type { LoaderRecord } from './loader.ts';
import { loggedRegisters, wantedLogs } from './policy.ts';
import type { BootPolicy } from './policy.ts';
import { recordsOf, refuseRecord } from './records.ts';
import { bootPhase, readUkiSections } from './uki.ts';
import type { MeasuredSection } from './uki.ts';

export const bootLogChecks = defineChecks('inauthentic', {
  'tpm-boot-logs': {
    means: 'The evidence carries other logs than those that were asked for.',
    hint: 'Send the logs that the challenge asks for, and null for the others; ask for a new challenge if the policy changed.',
    protects: 'A rule of the policy would be left out for want of a log.',
  },
  'tpm-boot-agent-log': {
    means: 'The agent’s own log does not lead to the value of its register that the TPM signed.',
    hint: 'Nobody else may extend the register; start the machine again, and the agent once.',
    protects: 'An agent could say of itself what it wants.',
  },
});

/** Facts by rule; null where no rule asks for them. */
export interface BootFacts {
  readonly secureBoot: SecureBootFacts | null;
  /** Authenticode digests in the order of their start, lower-case hex. */
  readonly images: readonly string[] | null;
  readonly loader: readonly LoaderRecord[] | null;
  readonly uki: { readonly sections: readonly MeasuredSection[]; readonly phase: string } | null;
  /** Digests that shim measured, lower-case hex. */
  readonly mok: readonly string[] | null;
  /** Entries that the quote proves, the boot aggregate first. */
  readonly files: readonly ImaEntry[] | null;
  readonly agent: readonly AgentEvent[] | null;
}

/** Registers of an authentic quote. */
export interface QuotedRegisters {
  readonly bank: TpmHash;
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
}

const UKI_PCR = 11;
const MOK_PCR = 14;
const IMA_PCR = 10;

/**
 * Reads the logs that the policy needs and compares them with the quote.
 *
 * @throws RefusalError `tpm-boot-*`, `event-log-*`, `ima-*`, `agent-log-size`, `layout-*`, `utf8-malformed`
 */
export function readBoot(
  logs: MeasurementLogs,
  policy: BootPolicy,
  quoted: QuotedRegisters,
  checks: Checklist,
): BootFacts {
  demandLogs(logs, policy, checks);
  const facts = logs.eventLog === null ? NO_EVENTS : readEvents(logs.eventLog, policy, quoted, checks);
  return {
    ...facts,
    files: logs.imaList === null ? null : provenFiles(logs.imaList, quoted),
    agent: logs.agentLog === null ? null : provenAgent(logs.agentLog, policy, quoted, checks),
  };
}

/** @throws RefusalError `tpm-boot-logs` */
export function demandLogs(logs: MeasurementLogs, policy: BootPolicy | 'any', checks: Checklist): void {
  const wanted = wantedLogs(policy);
  const expected = logNames(wanted.eventLog, wanted.imaList, wanted.agentPcr !== null);
  const found = logNames(logs.eventLog !== null, logs.imaList !== null, logs.agentLog !== null);
  checks.demand(bootLogChecks, 'tpm-boot-logs', expected === found, { field: 'evidence', expected, found });
}

function logNames(eventLog: boolean, imaList: boolean, agentLog: boolean): string {
  const names = Object.entries({ eventLog, imaList, agentLog }).filter(([, isThere]) => isThere);
  return names.map(([name]) => name).join(', ') || 'no log';
}

type EventFacts = Pick<BootFacts, 'secureBoot' | 'images' | 'loader' | 'uki' | 'mok'>;
const NO_EVENTS: EventFacts = { secureBoot: null, images: null, loader: null, uki: null, mok: null };

function readEvents(
  bytes: Uint8Array,
  policy: BootPolicy,
  quoted: QuotedRegisters,
  checks: Checklist,
): EventFacts {
  const log = readEventLog(bytes);
  const relied = loggedRegisters(policy);
  const phase = demandReplay(log, quoted, relied, checks);
  demandSeparators(log, quoted.bank, relied);
  const { bank } = quoted;
  const asks = (...names: readonly (keyof BootPolicy)[]): boolean =>
    names.some((name) => policy[name] !== 'any');
  return {
    secureBoot: asks('secureBoot', 'signers', 'revoked') ? readSecureBoot(log, bank) : null,
    images: asks('images') ? readImages(recordsOf(log, bank, 4)) : null,
    loader: asks('loader')
      ? LOADER_REGISTERS.flatMap((pcr) => readLoaderRecords(recordsOf(log, bank, pcr), pcr))
      : null,
    uki: asks('uki') ? { sections: readUkiSections(recordsOf(log, bank, UKI_PCR), bank), phase } : null,
    mok: asks('mok') ? readMok(log, bank) : null,
  };
}

/**
 * Each register that is relied on has the value that the log leads to. One that no record extends has its initial value, which
 * counts as unused for the firmware's own registers (EL-8); userspace goes on to extend PCR 11.
 */
function demandReplay(
  log: EventLog,
  { bank, pcrs }: QuotedRegisters,
  relied: readonly number[],
  checks: Checklist,
): string {
  const replayed = replayEventLog(log, bank.algorithm);
  let phase = '';
  for (const pcr of relied) {
    const quoted = pcrs.get(pcr) ?? new Uint8Array(0);
    const value = replayed.get(pcr) ?? new Uint8Array(pcr < 8 ? 0 : bank.bytes);
    const reached = pcr === UKI_PCR ? bootPhase(value, quoted, bank) : undefined;
    if (reached !== undefined) phase = reached;
    checks.demand(eventLogChecks, 'event-log-replay', reached !== undefined || equalBytes(value, quoted), {
      field: `eventLog PCR ${pcr}`,
      expected: toHex(quoted),
      found: value.length === 0 ? 'no record' : toHex(value),
    });
  }
  return phase;
}

function readMok(log: EventLog, bank: TpmHash): readonly string[] {
  return recordsOf(log, bank, MOK_PCR).map((record) =>
    record.type === EventType.ipl ? toHex(record.digest) : refuseRecord(record, MOK_PCR, 'EV_IPL'),
  );
}

function provenFiles(bytes: Uint8Array, { bank, pcrs }: QuotedRegisters): readonly ImaEntry[] {
  return provenEntries(readImaList(bytes), bank, IMA_PCR, pcrs.get(IMA_PCR) ?? new Uint8Array(0));
}

function provenAgent(
  bytes: Uint8Array,
  policy: BootPolicy,
  { bank, pcrs }: QuotedRegisters,
  checks: Checklist,
): readonly AgentEvent[] {
  const log = readAgentLog(bytes, 'agentLog');
  const pcr = wantedLogs(policy).agentPcr ?? 0;
  const quoted = pcrs.get(pcr) ?? new Uint8Array(0);
  const value = replayAgentLog(log, bank);
  checks.demand(bootLogChecks, 'tpm-boot-agent-log', equalBytes(value, quoted), {
    field: `agentLog PCR ${pcr}`,
    expected: toHex(quoted),
    found: toHex(value),
  });
  return log.events;
}
