/** Reading and writing of agent logs. What is read is claimed until its replay was compared with a quote. */

import { decode, encode } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { AGENT_EVENT_LABEL, AGENT_LOG_HEADER, agentEvent, AgentEventNumber, agentLog } from './layout.ts';

export const agentLogRefusals = defineRefusals('malformed', {
  'agent-log-size': {
    means: 'The log of what the agent measured of itself is larger than is accepted.',
    hint: 'Restart the machine: the log begins anew with the register that it belongs to.',
  },
});

/** Nearly two thousand events: each stands for another program, policy or model since the machine started. */
export const MAX_AGENT_LOG_BYTES = 64 * 1024;

/** What an agent measures of itself (AM-4). */
export type AgentEventKind = 'agent-program' | 'inference-policy' | 'model-manifest';

export interface AgentEvent {
  readonly kind: AgentEventKind;
  /** SHA-256 of what the event is about, 32 bytes. */
  readonly digest: Uint8Array;
}

export interface AgentLog {
  readonly events: readonly AgentEvent[];
}

const NUMBERS: Readonly<Record<AgentEventKind, number>> = {
  'agent-program': AgentEventNumber.program,
  'inference-policy': AgentEventNumber.inferencePolicy,
  'model-manifest': AgentEventNumber.modelManifest,
};
const KINDS = new Map(Object.entries(NUMBERS).map(([kind, number]) => [number, kind as AgentEventKind]));

/**
 * Reads a whole agent log.
 *
 * @param path what the log is called in messages
 * @throws RefusalError `agent-log-size`, `layout-*`
 */
export function readAgentLog(bytes: Uint8Array, path: string): AgentLog {
  if (bytes.length > MAX_AGENT_LOG_BYTES) {
    throw agentLogRefusals.error('agent-log-size', {
      field: path,
      expected: `at most ${MAX_AGENT_LOG_BYTES} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  const { records } = decode(agentLog, bytes, path);
  return { events: records.map(({ kind, digest }) => ({ kind: kindOf(kind), digest })) };
}

function kindOf(number: number): AgentEventKind {
  const kind = KINDS.get(number);
  if (kind === undefined) throw new TypeError(`the layout let the event kind ${number} pass`);
  return kind;
}

/** Writes a whole agent log. @throws RefusalError `layout-value` */
export function writeAgentLog({ events }: AgentLog): Uint8Array {
  const records = events.map(({ kind, digest }) => ({ kind: NUMBERS[kind], digest }));
  return encode(agentLog, { header: AGENT_LOG_HEADER, records }, 'agentLog');
}

/** The canonical form of an event: the bytes whose hash extends the register. @throws RefusalError `layout-value` */
export function encodeAgentEvent({ kind, digest }: AgentEvent): Uint8Array {
  return encode(agentEvent, { label: AGENT_EVENT_LABEL, kind: NUMBERS[kind], digest }, 'agentEvent');
}
