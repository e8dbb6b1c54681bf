/**
 * The cryptography of one HMAC session with a salt (TCG "TPM 2.0 Library Specification" Part 1, sections 19.6 and 21):
 * what proves that a command reached the TPM as it was sent and that the response is the TPM's, and what hides the
 * first member of either.
 */

import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

import { concatBytes } from '../../attestation/core/bytes.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { kdfA } from '../../attestation/tpm/kdf.ts';
import { Algorithm } from '../../attestation/tpm/layout.ts';
import { TaskQueue } from '../tpm/transport.ts';

/** The hash of every session that is made here. */
export const SESSION_HASH = tpmHash(Algorithm.sha256, 'session.hash');

/** TPMT_SYM_DEF of every session that is made here. */
export const SESSION_CIPHER = { algorithm: Algorithm.aes, keyBits: 128, mode: Algorithm.cfb } as const;
const CIPHER_NAME = 'aes-128-cfb';
const CIPHER_KEY_BYTES = 16;
const CIPHER_BLOCK_BYTES = 16;

/** TPMA_SESSION (Part 2, section 8.4). */
export const SessionAttribute = {
  continueSession: 0x01,
  auditExclusive: 0x02,
  decrypt: 0x20,
  encrypt: 0x40,
  audit: 0x80,
} as const;

export interface SaltedSessionParts {
  readonly handle: number;
  readonly salt: Uint8Array;
  readonly nonceCaller: Uint8Array;
  readonly nonceTpm: Uint8Array;
}

export function freshNonce(): Uint8Array {
  return new Uint8Array(randomBytes(SESSION_HASH.bytes));
}

/** Entities under such a session have the empty authorization value: the key of the session is all of its strength. */
export class SaltedSession {
  readonly handle: number;
  /** Commands of one session follow each other: each needs the nonces of the one before. */
  readonly queue = new TaskQueue();
  private readonly key: Uint8Array;
  private nonceCaller: Uint8Array;
  private nonceTpm: Uint8Array;

  constructor({ handle, salt, nonceCaller, nonceTpm }: SaltedSessionParts) {
    this.handle = handle;
    this.key = kdfA(SESSION_HASH, salt, 'ATH', nonceTpm, nonceCaller, SESSION_HASH.bytes * 8);
    this.nonceCaller = nonceCaller;
    this.nonceTpm = nonceTpm;
  }

  /** Draws the nonce of the next command. */
  nextNonce(): Uint8Array {
    this.nonceCaller = freshNonce();
    return this.nonceCaller;
  }

  /** HMAC of a command, after {@link nextNonce}. */
  commandHmac(parametersHash: Uint8Array, attributes: number): Uint8Array {
    return this.hmac(parametersHash, this.nonceCaller, this.nonceTpm, attributes);
  }

  /** Whether a response is the TPM's answer to the last command; only then its nonce is taken over. */
  acceptResponse(
    parametersHash: Uint8Array,
    { nonce, attributes, hmac }: { nonce: Uint8Array; attributes: number; hmac: Uint8Array },
  ): boolean {
    const expected = this.hmac(parametersHash, nonce, this.nonceCaller, attributes);
    if (hmac.length !== expected.length || !timingSafeEqual(hmac, expected)) return false;
    this.nonceTpm = nonce;
    return true;
  }

  /** Encrypts the first parameter of a command, after {@link nextNonce}. */
  encryptParameter(bytes: Uint8Array): Uint8Array {
    const { key, vector } = this.cipherInputs(this.nonceCaller, this.nonceTpm);
    return createCipheriv(CIPHER_NAME, key, vector).update(bytes);
  }

  /** Decrypts the first parameter of a response, after {@link acceptResponse}. */
  decryptParameter(bytes: Uint8Array): Uint8Array {
    const { key, vector } = this.cipherInputs(this.nonceTpm, this.nonceCaller);
    return new Uint8Array(createDecipheriv(CIPHER_NAME, key, vector).update(bytes));
  }

  /** Forgets the key. The session is of no use afterwards. */
  close(): void {
    this.key.fill(0);
  }

  private hmac(hash: Uint8Array, newer: Uint8Array, older: Uint8Array, attributes: number): Uint8Array {
    const covered = concatBytes(hash, newer, older, Uint8Array.of(attributes));
    return createHmac('sha256', this.key).update(covered).digest();
  }

  private cipherInputs(newer: Uint8Array, older: Uint8Array): { key: Uint8Array; vector: Uint8Array } {
    const bits = (CIPHER_KEY_BYTES + CIPHER_BLOCK_BYTES) * 8;
    const bytes = kdfA(SESSION_HASH, this.key, 'CFB', newer, older, bits);
    return { key: bytes.subarray(0, CIPHER_KEY_BYTES), vector: bytes.subarray(CIPHER_KEY_BYTES) };
  }
}
