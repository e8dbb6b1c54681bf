/** Replay of an agent log: the value that its register has when nobody else extended it. */

import { concatBytes } from '../../core/bytes.ts';
import type { TpmHash } from '../hash.ts';
import { encodeAgentEvent } from './read.ts';
import type { AgentEvent, AgentLog } from './read.ts';

/**
 * The registers that a log may belong to: those that are reset by nothing but the start of the machine (8 to 15). The
 * usual one is extended by boot loaders and systemd only where a boot brings system extensions for its initrd.
 */
export const AGENT_PCR = { first: 8, last: 15, usual: 13 } as const;

/** With what an event extends the register in this bank. @throws RefusalError `layout-value` */
export function agentEventDigest(event: AgentEvent, bank: TpmHash): Uint8Array {
  return bank.digest(encodeAgentEvent(event));
}

/** The value of the register after all events of the log; zeros when there is none. */
export function replayAgentLog({ events }: AgentLog, bank: TpmHash): Uint8Array {
  let value: Uint8Array = new Uint8Array(bank.bytes);
  for (const event of events) value = bank.digest(concatBytes(value, agentEventDigest(event, bank)));
  return value;
}
