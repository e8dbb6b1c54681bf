/** A log that a test grows as it likes, forks included, and what it asks of a witness. */

import { ed25519 } from '@noble/curves/ed25519.js';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { formatAddCheckpoint } from '../../src/log/add-checkpoint.ts';
import { signCheckpoint } from '../../src/log/checkpoint.ts';
import { sha256 } from '../../src/log/sha256.ts';
import { ed25519WitnessSigner, type WitnessSigner } from '../../src/log/witness.ts';
import { naiveConsistency, naiveRoot } from './naive-tree.ts';
import { testSigner } from './test-signer.ts';

/** A witness's key that follows from its name. */
export function testWitnessSigner(name: string): WitnessSigner {
  const secret = sha256(toUtf8(`witness/${name}`));
  return ed25519WitnessSigner(name, {
    publicKey: ed25519.getPublicKey(secret),
    sign: (message) => Promise.resolve(ed25519.sign(message, secret)),
  });
}

export class WitnessedLog {
  readonly signer;
  private readonly fork: string;

  /** @param fork two logs of one origin and other forks have other entries */
  constructor(origin: string, fork = '') {
    this.signer = testSigner(origin);
    this.fork = fork;
  }

  private entries(size: number): readonly Uint8Array[] {
    return Array.from({ length: size }, (_, i) => toUtf8(`${this.fork}entry ${i}`));
  }

  async note(size: number): Promise<string> {
    const head = { size: BigInt(size), root: naiveRoot(this.entries(size)) };
    return await signCheckpoint(this.signer.key.name, head, [this.signer]);
  }

  proof(from: number, size: number): readonly Uint8Array[] {
    return from === 0 || from >= size ? [] : naiveConsistency(from, this.entries(size));
  }

  /** @param from what the log takes the witness to have */
  async request(from: number, size: number): Promise<Uint8Array> {
    const proof = this.proof(from, size);
    return formatAddCheckpoint({ oldSize: BigInt(from), proof, note: await this.note(size) });
  }
}
