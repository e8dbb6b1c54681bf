/**
 * What somebody must know of a server before talking to it, and must have been given by another way than the server
 * itself: its address, its TLS authority, its log key. `weightgate init` writes the file; the owner hands it to labs,
 * auditors and regulators.
 */

import { z } from 'zod';

import { readCanonicalFile, writeCanonicalFile } from './canonical-file.ts';
import { readShape } from './shape.ts';

const MAX_PROFILE_BYTES = 64 * 1024;

/** What the origin of the log of an evaluation server ends in, and no other (RP-5). */
const EVALUATION_SUFFIX = '/evaluation';

const profileMembers = z.strictObject({
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

/** The origin stands in everything that the server signs, the mode in the profile alone: they must say the same. */
const profileSchema = profileMembers.refine(
  ({ mode, origin }) => (mode === 'evaluation') === origin.endsWith(EVALUATION_SUFFIX),
  {
    path: ['mode'],
    error: `it must be evaluation where the origin ends in ${EVALUATION_SUFFIX}, and nowhere else`,
  },
);

export type ServerProfile = z.infer<typeof profileSchema>;

/** @throws RefusalError `file-*`, `json-*`, `shape-mismatch` */
export async function readServerProfile(path: string): Promise<ServerProfile> {
  return readShape(profileSchema, await readCanonicalFile(path, MAX_PROFILE_BYTES), path);
}

/** @throws RefusalError `file-exists`, `file-not-written` */
export async function writeServerProfile(path: string, profile: ServerProfile): Promise<void> {
  await writeCanonicalFile(path, readShape(profileSchema, profile, 'profile'), { overwrite: false });
}
