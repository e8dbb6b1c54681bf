/**
 * What somebody must know of a server before talking to it, and must have been given by another way than the server
 * itself: its address, its TLS authority, its log key. `weightgate init` writes the file; the owner hands it to labs,
 * auditors and regulators.
 */

import { z } from 'zod';

import { concatBytes, toUtf8 } from '../../attestation/core/bytes.ts';
import { decodeCanonicalJson, encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { readFileBounded, writeFileDurably } from './files.ts';
import { readShape } from './shape.ts';

const MAX_PROFILE_BYTES = 64 * 1024;

const profileSchema = z.strictObject({
  version: z.literal(1),
  /** `https://host:port` */
  address: z.string().min(1).max(500),
  /** PEM of the only TLS authority that is accepted (RP-4). */
  authorityCertificate: z.string().min(1).max(20_000),
  origin: z.string().min(1).max(200),
  mode: z.enum(['evaluation', 'production']),
  /** Verifier key of the log, as in a signed note. */
  logKey: z.string().min(1).max(400),
  /** Ed25519 keys (base64) of the owner's people: a sealed bundle is signed by one of them. */
  bundleSigners: z.array(z.string().max(64)).min(1).max(256),
});

export type ServerProfile = z.infer<typeof profileSchema>;

/** @throws RefusalError `file-*`, `json-*`, `shape-mismatch` */
export async function readServerProfile(path: string): Promise<ServerProfile> {
  const text = await readFileBounded(path, MAX_PROFILE_BYTES);
  // A trailing line feed is what editors and shells add; everything else is held to the one form.
  const body = text.at(-1) === 0x0a ? text.subarray(0, -1) : text;
  return readShape(profileSchema, decodeCanonicalJson(body, { maxBytes: MAX_PROFILE_BYTES }, path), path);
}

/** @throws RefusalError `file-exists`, `file-not-written` */
export async function writeServerProfile(path: string, profile: ServerProfile): Promise<void> {
  const document = encodeCanonicalJson(readShape(profileSchema, profile, 'profile'));
  await writeFileDurably(path, concatBytes(document, toUtf8('\n')), 0o644, { overwrite: false });
}
