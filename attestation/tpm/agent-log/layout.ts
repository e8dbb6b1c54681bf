/**
 * The agent log: what an agent measured of itself since the machine started, in the form in which it is kept and sent
 * (docs/spec/tpm-agent-measurements.md). All of it is of one length for each event, so that a record that was cut is
 * told apart from one that was not. Integers are big-endian, as in all structures around a TPM.
 */

import { toUtf8 } from '../../core/bytes.ts';
import { bigEndian, constantBytes, fixedBytes, itemsToEnd, structure } from '../../core/layout.ts';

const { u8 } = bigEndian;

/** What an event is about, by the number that stands for it (AM-4). */
export const AgentEventNumber = { program: 1, inferencePolicy: 2, modelManifest: 3 } as const;

/** Every digest in an event is SHA-256, whatever the bank: it names the same thing as everywhere else. */
const DIGEST_BYTES = 32;

const agentRecord = structure({
  kind: u8({ oneOf: Object.values(AgentEventNumber) }),
  digest: fixedBytes(DIGEST_BYTES),
});

/** Keeps an event from being what firmware or a boot loader would hash. */
export const AGENT_EVENT_LABEL = toUtf8('weightgate agent event v1\0');

/** What is hashed for an extension. */
export const agentEvent = structure({
  label: constantBytes(AGENT_EVENT_LABEL),
  kind: u8({ oneOf: Object.values(AgentEventNumber) }),
  digest: fixedBytes(DIGEST_BYTES),
});

export const AGENT_LOG_HEADER = toUtf8('weightgate agent log v1\0');

export const agentLog = structure({
  header: constantBytes(AGENT_LOG_HEADER),
  records: itemsToEnd(agentRecord),
});

/** Length of one record in the log. */
export const AGENT_RECORD_BYTES = 1 + DIGEST_BYTES;
