/** The log of what an agent measured of itself (docs/spec/tpm-agent-measurements.md, sections 1 and 2). */

import { createHash } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, toHex } from '../../../../attestation/core/bytes.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import {
  MAX_AGENT_LOG_BYTES,
  readAgentLog,
  writeAgentLog,
  type AgentLog,
} from '../../../../attestation/tpm/agent-log/read.ts';
import { replayAgentLog } from '../../../../attestation/tpm/agent-log/replay.ts';
import { tpmHash } from '../../../../attestation/tpm/hash.ts';
import { Algorithm } from '../../../../attestation/tpm/layout.ts';
import { refusalCode } from '../../../support/refusal-code.ts';

const sha256Bank = tpmHash(Algorithm.sha256, 'bank');
const sha384Bank = tpmHash(Algorithm.sha384, 'bank');
const digestOf = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
const events: AgentLog['events'] = [
  { kind: 'agent-program', digest: digestOf(0xa1) },
  { kind: 'inference-policy', digest: digestOf(0xb2) },
  { kind: 'model-manifest', digest: digestOf(0xc3) },
];

/** The same log as the specification spells it, without the code under test. */
const bytes = concatBytes(
  Buffer.from('weightgate agent log v1\0', 'latin1'),
  ...events.map(({ digest }, i) => concatBytes(Uint8Array.of(i + 1), digest)),
);

function replayByHand(algorithm: string, length: number): string {
  const hash = (...parts: readonly Uint8Array[]): Buffer =>
    createHash(algorithm)
      .update(concatBytes(...parts))
      .digest();
  let value: Uint8Array = new Uint8Array(length);
  for (const [i, { digest }] of events.entries()) {
    const label = Buffer.from('weightgate agent event v1\0', 'latin1');
    value = hash(value, hash(label, Uint8Array.of(i + 1), digest));
  }
  return toHex(value);
}

const anyLog: fc.Arbitrary<AgentLog> = fc.record({
  events: fc.array(
    fc.record({
      kind: fc.constantFrom('agent-program', 'inference-policy', 'model-manifest'),
      digest: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    }),
    { maxLength: 8 },
  ),
});

describe('an agent log', () => {
  it('AM-4, AM-5: is a header and one record for each event', () => {
    expect(readAgentLog(bytes, 'agentLog').events).toEqual(events);
    expect(toHex(writeAgentLog({ events }))).toBe(toHex(bytes));
  });

  it('AM-3, AM-6: replays to what the specification says, in each bank', () => {
    const log = readAgentLog(bytes, 'agentLog');
    expect(toHex(replayAgentLog(log, sha256Bank))).toBe(replayByHand('sha256', 32));
    expect(toHex(replayAgentLog(log, sha384Bank))).toBe(replayByHand('sha384', 48));
    expect(toHex(replayAgentLog({ events: [] }, sha256Bank))).toBe('00'.repeat(32));
  });

  it('AM-4: refuses a kind that is not known', () => {
    const altered = Uint8Array.from(bytes);
    altered[24] = 4;
    expect(refusalCode(() => readAgentLog(altered, 'agentLog'))).toBe('layout-value');
  });

  it('AM-5: refuses another header, a cut record, and more than 64 KiB', () => {
    const altered = Uint8Array.from(bytes);
    altered[22] = 0x32;
    expect(refusalCode(() => readAgentLog(altered, 'agentLog'))).toBe('layout-value');
    const cut = bytes.subarray(0, bytes.length - 1);
    expect(refusalCode(() => readAgentLog(cut, 'agentLog'))).toBe('layout-truncated');
    const long = new Uint8Array(MAX_AGENT_LOG_BYTES + 1);
    expect(refusalCode(() => readAgentLog(long, 'agentLog'))).toBe('agent-log-size');
  });

  it('AM-5: what is read encodes to the same bytes, and everything else is refused', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), anyLog.map(writeAgentLog)), (input) => {
        try {
          expect(toHex(writeAgentLog(readAgentLog(input, 'agentLog')))).toBe(toHex(input));
        } catch (error) {
          if (!(error instanceof RefusalError)) throw error;
        }
      }),
      { numRuns: 300 },
    );
  });

  it('AM-6: another event, another order or another number of events gives another value', () => {
    fc.assert(
      fc.property(anyLog, anyLog, (left, right) => {
        fc.pre(toHex(writeAgentLog(left)) !== toHex(writeAgentLog(right)));
        expect(toHex(replayAgentLog(left, sha256Bank))).not.toBe(toHex(replayAgentLog(right, sha256Bank)));
      }),
      { numRuns: 200 },
    );
  });
});
