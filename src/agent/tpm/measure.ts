/**
 * Measures into the TPM what the agent is and what it is about to do (docs/spec/tpm-agent-measurements.md, section 3).
 * The register is the truth and the log follows it: whatever was interrupted is found out by replay.
 */

import { createHash } from 'node:crypto';
import { join, resolve } from 'node:path';

import { concatBytes, equalBytes, toHex } from '../../../attestation/core/bytes.ts';
import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { type AgentEvent, writeAgentLog } from '../../../attestation/tpm/agent-log/read.ts';
import { agentEventDigest, replayAgentLog } from '../../../attestation/tpm/agent-log/replay.ts';
import type { TpmHash } from '../../../attestation/tpm/hash.ts';
import { banksWithPcr, toSelectionList } from '../../../native/tpm-commands/selection.ts';
import type { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { AgentLogFile } from './agent-log-file.ts';
import { withMachineLock } from './machine-lock.ts';

export const agentMeasurementRefusals = defineRefusals('environment', {
  'agent-pcr-foreign': {
    means:
      'The register that the agent measures itself into was extended by something else, or its log was lost.',
    hint: 'Find out what extends it (tpm2_eventlog, systemd-pcrextend); name another register in the policy; restart the machine.',
  },
  'agent-measurement-missing': {
    means: 'The server asks for what the agent measured of itself, and this command measures nothing.',
    hint: 'Only agent run measures: what it is and what it is to run is known there.',
  },
  'agent-measurement-late': {
    means:
      'The register lacks what this agent has to measure, and the agent measures only right after its enrolment.',
    hint: 'Start the agent again. If it had measured itself, the TPM was reset under it: look at the machine.',
  },
});

/** The server asks for something that contradicts itself. */
export const agentRequestRefusals = defineRefusals('malformed', {
  'agent-pcr-unquoted': {
    means: 'A challenge asks for the log of a register that it does not ask to have quoted.',
    hint: 'This is an error of the server: tell its operator.',
  },
});

/** Where the logs stand: memory that is gone with the registers. One file for each register. */
export const ORDINARY_AGENT_LOG_FOLDER = '/run/weightgate';

/** A register of the TPM and the log that belongs to it. */
export class AgentRegister {
  readonly pcr: number;
  private readonly bank: TpmHash;
  private readonly file: AgentLogFile;

  /**
   * @param bank in which the register is compared; all banks are extended
   * @param folder of the logs
   */
  constructor(pcr: number, bank: TpmHash, folder: string) {
    this.pcr = pcr;
    this.bank = bank;
    this.file = new AgentLogFile(join(resolve(folder), `agent-log-${pcr}`));
  }

  /**
   * Extends the register with those of the events that are not in it.
   *
   * @param protect gives a TPM whose commands are authenticated; not called when there is nothing to extend
   * @throws RefusalError `agent-pcr-foreign`, `agent-log-*`, `tpm-*`, and those of `protect`
   */
  async measure(
    tpm: Tpm,
    events: readonly AgentEvent[],
    protect: (work: (tpm: Tpm) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    await withMachineLock(this.lockName, async () => {
      const measured = await this.recover(tpm);
      const missing = events.filter((event) => !measured.some((other) => isSame(event, other)));
      if (missing.length > 0) await protect((own) => this.extend(own, [...measured], missing));
    });
  }

  /**
   * The beginning of the log that leads to a quoted value: what came later the quote does not cover.
   *
   * @throws RefusalError `agent-pcr-foreign`, `agent-log-*`
   */
  async provenLog(quoted: Uint8Array): Promise<Uint8Array> {
    const { events } = await this.file.read();
    return writeAgentLog({ events: events.slice(0, this.countOf(events, quoted)) });
  }

  /** What the register holds. A log that says more is cut: it is of an earlier start, or was interrupted. */
  private async recover(tpm: Tpm): Promise<readonly AgentEvent[]> {
    const { events, isWhole } = await this.file.read();
    const measured = events.slice(0, this.countOf(events, await this.readValue(tpm)));
    if (!isWhole || measured.length < events.length) await this.file.replace(measured);
    return measured;
  }

  /** The record is written before the register is extended: what is in the register is then always in the log. */
  private async extend(tpm: Tpm, measured: AgentEvent[], missing: readonly AgentEvent[]): Promise<void> {
    const banks = banksWithPcr(await tpm.pcrBanks(), this.pcr);
    for (const event of missing) {
      await this.file.append(event);
      const digests = banks.map((bank) => ({
        hash: bank.algorithm,
        digest: agentEventDigest(event, bank),
      }));
      await tpm.extendPcrBanks(this.pcr, digests);
      measured.push(event);
    }
    const value = await this.readValue(tpm);
    if (this.countOf(measured, value) < measured.length) throw this.foreign(measured, value);
  }

  private async readValue(tpm: Tpm): Promise<Uint8Array> {
    const [read] = await tpm.readPcrs(toSelectionList({ [this.bank.bank]: [this.pcr] }));
    return read?.value ?? new Uint8Array(0);
  }

  /** How many events from the first on lead to the value. @throws RefusalError `agent-pcr-foreign` */
  private countOf(events: readonly AgentEvent[], value: Uint8Array): number {
    let reached: Uint8Array = replayAgentLog({ events: [] }, this.bank);
    if (equalBytes(reached, value)) return 0;
    for (const [index, event] of events.entries()) {
      reached = this.bank.digest(concatBytes(reached, agentEventDigest(event, this.bank)));
      if (equalBytes(reached, value)) return index + 1;
    }
    throw this.foreign(events, value);
  }

  private foreign(events: readonly AgentEvent[], value: Uint8Array): Error {
    return agentMeasurementRefusals.error('agent-pcr-foreign', {
      field: `PCR ${this.pcr}`,
      expected: `what ${this.file.path} leads to: ${toHex(replayAgentLog({ events }, this.bank))}`,
      found: toHex(value),
    });
  }

  /** A name of fixed length, because paths may be longer than a name may be. */
  private get lockName(): string {
    return `agent-log/${createHash('sha256').update(this.file.path).digest('hex')}`;
  }
}

function isSame(left: AgentEvent, right: AgentEvent): boolean {
  return left.kind === right.kind && equalBytes(left.digest, right.digest);
}
