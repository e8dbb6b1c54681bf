/**
 * Reading a manifest file as what it claims to be: its content, and a signature that is still to be verified.
 *
 * The content is not taken from the file. It is parsed again out of the canonical bytes whose digest the signature is about, so
 * that what a verifier reads and what a signer signed cannot be two things (docs/spec/nvidia-rim.md, NR-14).
 */

import { remembered } from '../../core/certificate-memory.ts';
import type { CertificateMemory } from '../../core/certificate-memory.ts';
import { canonicalXml } from './canonical-xml.ts';
import { readManifest } from './manifest.ts';
import type { RimManifest } from './manifest.ts';
import { readSignedParts } from './signature.ts';
import type { RimSignature } from './signature.ts';
import { readXml } from './xml.ts';

/** A manifest that nobody has verified. */
export interface ClaimedRim {
  readonly manifest: RimManifest;
  /** Canonical bytes without the signature: all that `manifest` was read from. */
  readonly content: Uint8Array;
  readonly signature: RimSignature;
}

/**
 * Reads a manifest as NVIDIA's service gives it, without its JSON wrapping.
 *
 * @param memory the caller's own: one manifest is read for many devices
 * @throws RefusalError `rim-*` of the family malformed, `utf8-malformed`, `base64-malformed`
 */
export function readRim(bytes: Uint8Array, memory?: CertificateMemory): ClaimedRim {
  return remembered(memory, 'rim', bytes, readClaims);
}

function readClaims(bytes: Uint8Array): ClaimedRim {
  const parts = readSignedParts(readXml(bytes, 'rim'));
  const content = canonicalXml(parts.content);
  return { manifest: readManifest(readXml(content, 'rim')), content, signature: parts.signature };
}
