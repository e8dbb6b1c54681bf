/**
 * How a model key travels: HPKE (RFC 9180) in base mode with MLKEM768-X25519, HKDF-SHA256 and AES-256-GCM
 * (docs/spec/release-protocol.md, RP-23 and RP-24). The server wraps and the agent opens with this one file, so that
 * both bind the key to the same server, model, policy, lease and decision (W3).
 */

import {
  AEAD_AES_256_GCM,
  CipherSuite,
  KDF_HKDF_SHA256,
  KEM_MLKEM768_X25519,
  type Key,
  type KeyPair,
} from 'hpke';
import { createHash } from 'node:crypto';

import { AGENT_PUBLIC_KEY_BYTES, paddedLabel } from '../../attestation/core/binding.ts';
import { fromHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { constantBytes, encode, fixedBytes, structure } from '../../attestation/core/layout.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';

export const grantKeyRefusals = defineRefusals('malformed', {
  'grant-agent-key': {
    means: 'The public key to which a grant would be encrypted is not an X-Wing public key.',
    hint: 'Send the 1216 bytes of a fresh MLKEM768-X25519 public key.',
  },
});

export const grantRefusals = defineRefusals('inauthentic', {
  'grant-not-opened': {
    means: 'A wrapped model key does not open for this key pair, server, model, policy, lease and decision.',
    hint: 'The grant was altered or belongs to another request. Ask for a new challenge and try again.',
  },
});

/** Bytes of an X-Wing encapsulation. */
export const ENCAPSULATED_KEY_BYTES = 1120;
/** Bytes of the key of a sealed model. */
const MODEL_KEY_BYTES = 32;
/** The model key and the tag of AES-256-GCM. */
export const WRAPPED_KEY_BYTES = MODEL_KEY_BYTES + 16;

const GRANT_LABEL = paddedLabel('weightgate/grant/v1');

/** The HPKE `info` of RP-24. */
const grantInfo = structure({
  label: constantBytes(GRANT_LABEL),
  originDigest: fixedBytes(32),
  manifestDigest: fixedBytes(32),
  inferencePolicyDigest: fixedBytes(32),
  leaseDigest: fixedBytes(32),
  leafHash: fixedBytes(32),
});

/** A time-limited permission, as it stands in the decision entry (RP-29). */
export interface Lease {
  readonly lease: string;
  /** POSIX seconds of the server's clock. */
  readonly startsAt: number;
  /** POSIX seconds of the server's clock. */
  readonly endsAt: number;
  readonly renewAfterSeconds: number;
}

/** Everything that a wrapped key is bound to. Both sides derive it on their own; none of it travels with the key. */
export interface GrantContext {
  /** The origin of the server's log. */
  readonly origin: string;
  /** Lower-case hex SHA-256. */
  readonly manifestDigest: string;
  /** Lower-case hex SHA-256. */
  readonly inferencePolicyDigest: string;
  readonly lease: Lease;
  /** RFC 6962 leaf hash of the decision entry, 32 bytes. */
  readonly leafHash: Uint8Array;
  /** The binding that the evidence signed (RP-17), 32 bytes. */
  readonly binding: Uint8Array;
}

export interface WrappedModelKey {
  readonly encapsulatedKey: Uint8Array;
  readonly wrappedKey: Uint8Array;
}

/** The attester's key pair for one grant. The private half cannot be exported (RP-28). */
export interface AgentKeyPair {
  /** 1216 bytes. */
  readonly publicKey: Uint8Array;
  readonly pair: KeyPair;
}

const suite = new CipherSuite(KEM_MLKEM768_X25519, KDF_HKDF_SHA256, AEAD_AES_256_GCM);

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash('sha256').update(bytes).digest();
}

function infoOf(context: GrantContext): Uint8Array {
  const { lease, startsAt, endsAt, renewAfterSeconds } = context.lease;
  return encode(
    grantInfo,
    {
      label: GRANT_LABEL,
      originDigest: sha256(toUtf8(context.origin)),
      manifestDigest: fromHex(context.manifestDigest, 'grant.manifestDigest'),
      inferencePolicyDigest: fromHex(context.inferencePolicyDigest, 'grant.inferencePolicyDigest'),
      leaseDigest: sha256(encodeCanonicalJson({ lease, startsAt, endsAt, renewAfterSeconds })),
      leafHash: context.leafHash,
    },
    'grant.info',
  );
}

/** A fresh key pair from the platform's randomness. */
export async function generateAgentKeyPair(): Promise<AgentKeyPair> {
  const pair = await suite.GenerateKeyPair(false);
  return { publicKey: await suite.SerializePublicKey(pair.publicKey), pair };
}

/**
 * Wraps a model key for one agent.
 *
 * @param agentPublicKey comes from the request; the evidence has signed its digest, its form is still the agent's
 * @param modelKey 32 bytes; stays the caller's to zeroise
 * @throws RefusalError `grant-agent-key`
 */
export async function wrapModelKey(
  context: GrantContext,
  agentPublicKey: Uint8Array,
  modelKey: Uint8Array,
): Promise<WrappedModelKey> {
  const options = { info: infoOf(context), aad: context.binding };
  const recipient = await readAgentPublicKey(agentPublicKey);
  try {
    const sealed = await suite.Seal(recipient, modelKey, options);
    return { encapsulatedKey: sealed.encapsulatedSecret, wrappedKey: sealed.ciphertext };
  } catch (cause) {
    throw agentKeyRefusal(agentPublicKey, cause);
  }
}

/**
 * Checks that a key can be wrapped for an agent's public key, before a decision about it is logged. It encrypts
 * nothing to the key, because a half of low order shows only when a shared secret is computed.
 *
 * @throws RefusalError `grant-agent-key`
 */
export async function checkAgentPublicKey(agentPublicKey: Uint8Array): Promise<void> {
  const recipient = await readAgentPublicKey(agentPublicKey);
  try {
    await suite.Seal(recipient, new Uint8Array(0));
  } catch (cause) {
    throw agentKeyRefusal(agentPublicKey, cause);
  }
}

async function readAgentPublicKey(agentPublicKey: Uint8Array): Promise<Key> {
  try {
    return await suite.DeserializePublicKey(agentPublicKey);
  } catch (cause) {
    throw agentKeyRefusal(agentPublicKey, cause);
  }
}

function agentKeyRefusal(agentPublicKey: Uint8Array, cause: unknown): Error {
  return grantKeyRefusals.error(
    'grant-agent-key',
    {
      field: 'agentKey',
      expected: `${AGENT_PUBLIC_KEY_BYTES} bytes of an X-Wing public key`,
      found: `${agentPublicKey.length} bytes that are not`,
    },
    { cause },
  );
}

/**
 * Opens a wrapped model key.
 *
 * @returns the model key, 32 bytes, which the caller zeroises
 * @throws RefusalError `grant-not-opened`
 */
export async function openModelKey(
  context: GrantContext,
  keyPair: AgentKeyPair,
  wrapped: WrappedModelKey,
): Promise<Uint8Array> {
  const options = { info: infoOf(context), aad: context.binding };
  try {
    return await suite.Open(keyPair.pair, wrapped.encapsulatedKey, wrapped.wrappedKey, options);
  } catch (cause) {
    throw grantRefusals.error(
      'grant-not-opened',
      {
        field: 'grant.wrappedKey',
        expected: 'a key wrapped for this request',
        found: 'one that does not open',
      },
      { cause },
    );
  }
}
