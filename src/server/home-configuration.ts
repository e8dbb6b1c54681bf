/** `weightgate.yaml`: what the operator of a server may set. None of it loosens what the log has fixed (RP-5, RP-6). */

import { join } from 'node:path';

import { z } from 'zod';

import { MODES } from '../governance/fields.ts';
import { KDS_ADDRESS } from '../platform/collateral/amd-kds.ts';
import { NVIDIA_ADDRESSES } from '../platform/collateral/nvidia-services.ts';
import { formatConfiguration, readConfiguration } from '../platform/configuration.ts';
import { HOME_PLACES } from './home-layout.ts';

const path = z.string().min(1).max(1000);
const address = z.url({ protocol: /^https$/ });

/**
 * The attestation service is asked only where the release policy demands its result (CO-19), and learns then which machine
 * attests with what: its address is for the operator to write.
 */
const nvidiaAddresses = z.strictObject({
  manifests: address,
  ocsp: address,
  attestation: address.nullable().default(null),
});

const configurationSchema = z.strictObject({
  version: z.literal(1),
  /** As in the genesis entry; named here so that a mixed-up home shows. */
  origin: z.string().min(1).max(200),
  mode: z.enum(MODES),
  listen: z.strictObject({ host: z.string().min(1).max(255), port: z.int().min(0).max(65_535) }),
  /** PEM files, relative to the home. */
  tls: z.strictObject({ certificate: path, key: path }),
  /** Folder of the hardware vendors' authorities, relative to the home. */
  anchors: path,
  /**
   * Certificates, revocation lists and manifests: the folder, relative to the home, and the addresses of services that are
   * asked for what is not there: AMD's key distribution service, and NVIDIA's. Without an address nothing is fetched.
   */
  collateral: z
    .strictObject({
      folder: path,
      keyService: address.nullable(),
      nvidia: nvidiaAddresses.nullable().default(null),
    })
    .default({ folder: HOME_PLACES.collateral, keyService: null, nvidia: null }),
  /**
   * Who is asked to cosign each checkpoint of the log: a C2SP policy with addresses, relative to the home, or nobody. `authority` is
   * a PEM file with the only TLS authority that is accepted of witnesses, in place of those that this machine trusts. With
   * `required` no model key leaves without the policy's quorum (docs/spec/witness.md, WT-19).
   */
  witnesses: z
    .strictObject({
      policy: path.nullable(),
      authority: path.nullable(),
      timeoutMilliseconds: z.int().min(100).max(60_000),
      required: z.boolean(),
    })
    .refine(({ policy, required }) => policy !== null || !required, {
      path: ['required'],
      error: 'it needs a policy',
    })
    .default({ policy: null, authority: null, timeoutMilliseconds: 2000, required: false }),
  /**
   * What decisions were derived from: the folder, relative to the home, and for how many days after a decision it is kept;
   * null for ever (docs/spec/replay.md, RD-9).
   */
  evidence: z
    .strictObject({
      folder: path.default(HOME_PLACES.evidence),
      keepDays: z.int().min(1).max(36_500).nullable().default(null),
    })
    .default({ folder: HOME_PLACES.evidence, keepDays: null }),
  /**
   * `database` is the connection string of a PostgreSQL database that several servers share (docs/spec/release-log.md, section 8), or null
   * for a log in the home. How often the server logs a heartbeat (RP-36), and renews the checkpoint of a log to which nothing is appended (WT-22). */
  log: z
    .strictObject({
      heartbeatSeconds: z.int().min(60).max(86_400),
      republishSeconds: z.int().min(60).max(86_400),
      database: z.string().min(1).max(2000).nullable().default(null),
    })
    .default({ heartbeatSeconds: 3600, republishSeconds: 600, database: null }),
  limits: z.strictObject({
    openChallenges: z.int().min(1).max(1_000_000),
    openEnrolments: z.int().min(1).max(100_000),
    connections: z.int().min(1).max(100_000),
    /** For one address. */
    requestsPerMinute: z.int().min(1).max(1_000_000),
  }),
});

export type HomeConfiguration = z.infer<typeof configurationSchema>;

const COMMENT = `Weightgate key-release server. Paths are relative to this folder.
Origin and mode were fixed when the log began and cannot be changed.`;

export function defaultConfiguration(
  identity: Pick<HomeConfiguration, 'origin' | 'mode' | 'listen'> & {
    readonly database?: string | undefined;
  },
): HomeConfiguration {
  const { origin, mode, listen } = identity;
  const { manifests, ocsp } = NVIDIA_ADDRESSES;
  return {
    version: 1,
    origin,
    mode,
    listen,
    tls: { certificate: HOME_PLACES.serverCertificate, key: HOME_PLACES.serverKey },
    anchors: HOME_PLACES.anchors,
    collateral: {
      folder: HOME_PLACES.collateral,
      keyService: mode === 'production' ? KDS_ADDRESS : null,
      nvidia: mode === 'production' ? { manifests, ocsp, attestation: null } : null,
    },
    witnesses: { policy: null, authority: null, timeoutMilliseconds: 2000, required: false },
    evidence: { folder: HOME_PLACES.evidence, keepDays: null },
    log: { heartbeatSeconds: 3600, republishSeconds: 600, database: identity.database ?? null },
    limits: { openChallenges: 10_000, openEnrolments: 1000, connections: 1000, requestsPerMinute: 600 },
  };
}

/** @throws RefusalError as `readConfiguration` */
export async function readHomeConfiguration(home: string): Promise<HomeConfiguration> {
  return await readConfiguration(join(home, HOME_PLACES.configuration), configurationSchema);
}

export function formatHomeConfiguration(configuration: HomeConfiguration): Uint8Array {
  return formatConfiguration(COMMENT, configuration);
}
