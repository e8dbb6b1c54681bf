/** Members that several documents of governance share, each with its one spelling (docs/spec/governance.md, section 1). */

import { z } from 'zod';

/** The life of a model version, in the order in which it rises. */
export const PHASES = ['sealed', 'research', 'enterprise', 'public'] as const;
export type Phase = (typeof PHASES)[number];
export const phaseField = z.enum(PHASES);

/** What a server is born as. Nothing changes it afterwards (W9). */
export const MODES = ['evaluation', 'production'] as const;
export type Mode = (typeof MODES)[number];
export const modeField = z.enum(MODES);

/** The name of a person, lab, model, version or role: printable without quoting, so that it means one thing to every reader. */
export const identifierField = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._@+-]{0,126}$/);

/** Text that a person wrote for persons. */
export const reasonField = z.string().min(1).max(2000);

/** A name that is only shown, such as that of an organisation. */
export const displayNameField = z.string().min(1).max(200);

/** ISO 3166-1 alpha-2, or `EU`. */
export const jurisdictionField = z.string().regex(/^[A-Z]{2}$/);

/** Lower-case hexadecimal SHA-256. */
export const digestField = z.string().regex(/^[0-9a-f]{64}$/);

/** Name of a log: no space and no plus sign, because it stands in the key of a signed note (C2SP signed-note). */
export const originField = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$/);

/** An Ed25519 public key: canonical base64 of 32 bytes, the unused bits of the last digit zero. */
export const publicKeyField = z.string().regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/);

/** POSIX seconds. */
export const posixSecondsField = z.int().nonnegative();

/** A length of time in seconds. */
export const durationSecondsField = z.int().nonnegative();

/**
 * Name of a TPM object: algorithm identifier and digest of its public area (TPM 2.0 part 1, section 16), in
 * lower-case hexadecimal as the TPM tools print it. SHA-256, SHA-384 or SHA-512.
 */
export const objectNameField = z.string().regex(/^(?:000b[0-9a-f]{64}|000c[0-9a-f]{96}|000d[0-9a-f]{128})$/);

/** Identifier of a lease: 16 random bytes in lower-case hexadecimal. */
export const leaseIdentifierField = z.string().regex(/^[0-9a-f]{32}$/);

/** Names one run of a server: 16 random bytes in lower-case hexadecimal. */
export const runIdentifierField = z.string().regex(/^[0-9a-f]{32}$/);

/** Name of a device class as the verifier registers it, for example `tpm`. */
export const deviceClassField = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/);
