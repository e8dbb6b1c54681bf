/**
 * The agent log on its way through one start of the machine: a file that only the agent's user reads, on storage that
 * is gone with the registers. It grows by whole records; what stands in it is worth what the register says.
 */

import { constants } from 'node:fs';
import { mkdir, open, readFile, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';

import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { AGENT_LOG_HEADER, AGENT_RECORD_BYTES } from '../../../attestation/tpm/agent-log/layout.ts';
import { type AgentEvent, readAgentLog, writeAgentLog } from '../../../attestation/tpm/agent-log/read.ts';
import { writeFileDurably } from '../../platform/files.ts';

export const agentLogFileRefusals = defineRefusals('environment', {
  'agent-log-file': {
    means: 'The log of what the agent measures of itself cannot be read or written.',
    hint: 'Give a folder with --agent-log that is kept in memory (below /run) and belongs to the user of the agent.',
  },
});

export class AgentLogFile {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * The events of the log, none where there is no file yet. A record that was cut, as a power failure may do, was not
   * measured: it is left out, and the log is not whole.
   *
   * @throws RefusalError `agent-log-file`, `agent-log-size`, `layout-*`
   */
  async read(): Promise<{ readonly events: readonly AgentEvent[]; readonly isWhole: boolean }> {
    const bytes = await readFile(this.path).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw this.failure('a file', error);
    });
    if (bytes === undefined || bytes.length < AGENT_LOG_HEADER.length) return { events: [], isWhole: false };
    const cut = (bytes.length - AGENT_LOG_HEADER.length) % AGENT_RECORD_BYTES;
    const { events } = readAgentLog(new Uint8Array(bytes.subarray(0, bytes.length - cut)), this.path);
    return { events, isWhole: cut === 0 };
  }

  /** Puts a log of these events in the place of what there is. @throws RefusalError `agent-log-file`, `file-not-written` */
  async replace(events: readonly AgentEvent[]): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
      throw this.failure('a folder that can be made', cause);
    });
    await writeFileDurably(this.path, writeAgentLog({ events }), 0o600);
  }

  /** Adds one event to the log, which is there. It is on storage when this returns. @throws RefusalError `agent-log-file` */
  async append(event: AgentEvent): Promise<void> {
    const record = writeAgentLog({ events: [event] }).subarray(AGENT_LOG_HEADER.length);
    let file: FileHandle | undefined;
    try {
      file = await open(this.path, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW);
      await file.writeFile(record);
      await file.sync();
    } catch (cause) {
      throw this.failure('a file that can be written', cause);
    } finally {
      await file?.close();
    }
  }

  private failure(expected: string, cause: unknown): Error {
    const facts = { field: this.path, expected, found: codeOf(cause) };
    return agentLogFileRefusals.error('agent-log-file', facts, { cause });
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'an error';
}
