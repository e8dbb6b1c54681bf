import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';

import { AGENT_PUBLIC_KEY_BYTES } from '../../attestation/core/binding.ts';
import {
  ENCAPSULATED_KEY_BYTES,
  WRAPPED_KEY_BYTES,
  checkAgentPublicKey,
  generateAgentKeyPair,
  openModelKey,
  wrapModelKey,
  type GrantContext,
} from '../../src/platform/grant-wrap.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';

const context: GrantContext = {
  origin: 'release.example/evaluation',
  manifestDigest: 'aa'.repeat(32),
  inferencePolicyDigest: 'bb'.repeat(32),
  lease: { lease: 'lease-1', startsAt: 1000, endsAt: 1600, renewAfterSeconds: 300 },
  leafHash: new Uint8Array(32).fill(3),
  binding: new Uint8Array(32).fill(4),
};

/** One context for each member that a grant is bound to, differing in that member alone. */
const otherContexts: Readonly<Record<string, GrantContext>> = {
  origin: { ...context, origin: 'release.example' },
  'manifest digest': { ...context, manifestDigest: 'ab'.repeat(32) },
  'inference-policy digest': { ...context, inferencePolicyDigest: 'ba'.repeat(32) },
  'lease identifier': { ...context, lease: { ...context.lease, lease: 'lease-2' } },
  'lease end': { ...context, lease: { ...context.lease, endsAt: 1601 } },
  'renewal time': { ...context, lease: { ...context.lease, renewAfterSeconds: 301 } },
  'leaf hash': { ...context, leafHash: new Uint8Array(32).fill(5) },
  binding: { ...context, binding: new Uint8Array(32).fill(5) },
};

describe('wrapped model keys', () => {
  it('RP-23: the agent opens what the server wrapped, with the lengths of the suite', async () => {
    const agent = await generateAgentKeyPair();
    const modelKey = randomBytes(32);
    const wrapped = await wrapModelKey(context, agent.publicKey, modelKey);
    expect(agent.publicKey).toHaveLength(AGENT_PUBLIC_KEY_BYTES);
    expect(wrapped.encapsulatedKey).toHaveLength(ENCAPSULATED_KEY_BYTES);
    expect(wrapped.wrappedKey).toHaveLength(WRAPPED_KEY_BYTES);
    expect(Buffer.from(await openModelKey(context, agent, wrapped))).toEqual(modelKey);
  });

  it.each(Object.keys(otherContexts))('RP-24: a grant does not open under another %s', async (member) => {
    const agent = await generateAgentKeyPair();
    const wrapped = await wrapModelKey(context, agent.publicKey, randomBytes(32));
    expect(await refusalCodeAsync(() => openModelKey(otherContexts[member]!, agent, wrapped))).toBe(
      'grant-not-opened',
    );
  });

  it('RP-23: no altered or cut byte of a wrapped key opens, and another key pair opens nothing', async () => {
    const agent = await generateAgentKeyPair();
    const wrapped = await wrapModelKey(context, agent.publicKey, randomBytes(32));
    const everywhere = fc.nat({ max: ENCAPSULATED_KEY_BYTES + WRAPPED_KEY_BYTES - 1 });
    await fc.assert(
      fc.asyncProperty(everywhere, fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const joined = Buffer.concat([wrapped.encapsulatedKey, wrapped.wrappedKey]);
        joined.writeUInt8(joined.readUInt8(at) ^ flip, at);
        const encapsulatedKey = joined.subarray(0, ENCAPSULATED_KEY_BYTES);
        const wrappedKey = joined.subarray(ENCAPSULATED_KEY_BYTES);
        expect(
          await refusalCodeAsync(() => openModelKey(context, agent, { encapsulatedKey, wrappedKey })),
        ).toBe('grant-not-opened');
      }),
      { numRuns: 40 },
    );
    const cut = { ...wrapped, wrappedKey: wrapped.wrappedKey.subarray(1) };
    expect(await refusalCodeAsync(() => openModelKey(context, agent, cut))).toBe('grant-not-opened');
    const other = await generateAgentKeyPair();
    expect(await refusalCodeAsync(() => openModelKey(context, other, wrapped))).toBe('grant-not-opened');
  });

  it('RP-16: a public key from outside is an X-Wing key or refused, never another error', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.uint8Array({ maxLength: 64 }),
          fc.uint8Array({ minLength: AGENT_PUBLIC_KEY_BYTES, maxLength: AGENT_PUBLIC_KEY_BYTES }),
        ),
        async (bytes) => {
          expect(await refusalCodeAsync(() => wrapModelKey(context, bytes, new Uint8Array(32)))).toMatch(
            /grant-agent-key|accepted/,
          );
        },
      ),
      { numRuns: 60 },
    );
    expect(
      await refusalCodeAsync(() => checkAgentPublicKey(new Uint8Array(AGENT_PUBLIC_KEY_BYTES).fill(255))),
    ).toBe('grant-agent-key');
    // All zero: the X25519 half is a point of low order.
    expect(await refusalCodeAsync(() => checkAgentPublicKey(new Uint8Array(AGENT_PUBLIC_KEY_BYTES)))).toBe(
      'grant-agent-key',
    );
  });
});
