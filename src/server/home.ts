/** The home of a server, opened: its keys alone, or all that a server runs on (docs/spec/release-protocol.md, RP-6). */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { isRefusal } from '../../attestation/core/refusal.ts';
import { CertificateMemory } from '../../attestation/core/certificate-memory.ts';
import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import { sevSnpDeviceClass } from '../../attestation/sev-snp/device-class.ts';
import { tpmDeviceClass } from '../../attestation/tpm/device-class.ts';
import type { CustodyHome } from '../keys/custody-provider.ts';
import { HomeCustodies } from '../keys/home-custodies.ts';
import { openKeyring, type Keyring } from '../keys/keyring.ts';
import { openModelKeyStore, type ModelKeyStore } from '../keys/model-key-store.ts';
import { openReleaseLog } from '../log/log-folder.ts';
import type { ReleaseLog } from '../log/release-log.ts';
import type { Clock } from '../platform/clock.ts';
import { openReleasePolicyEngine, type ReleasePolicyEngine } from '../policy/release-policy.ts';
import { fileRefusals } from '../platform/files.ts';
import { AmdKds } from '../platform/collateral/amd-kds.ts';
import { DirectoryStore } from '../platform/collateral/directory-store.ts';
import { KeptCollateral } from '../platform/collateral/kept-collateral.ts';
import { nvidiaCollateralCheck } from '../platform/collateral/nvidia-check.ts';
import type { NvidiaItem } from '../platform/collateral/nvidia-items.ts';
import { NvidiaRemoteService } from '../platform/collateral/nvidia-remote-service.ts';
import { NvidiaServices } from '../platform/collateral/nvidia-services.ts';
import { sevSnpCollateralCheck } from '../platform/collateral/sev-snp-check.ts';
import { readAnchors, readIntermediates } from './anchors.ts';
import { logCustodyEvents } from './custody-log.ts';
import type { VerifierSetup } from './evidence.ts';
import { EvidenceStore } from './evidence-store.ts';
import { GovernanceLog } from './governance-log.ts';
import { readHomeConfiguration, type HomeConfiguration } from './home-configuration.ts';
import type { CollateralSources } from './collateral.ts';
import { DEVICE_CLASSES, VERIFIED_CLASSES } from './device-classes.ts';
import { HOME_PLACES, logIdentityOf, logKeyOf } from './home-layout.ts';
import { homeRefusals } from './refusals.ts';
import { ServerStorage } from './storage.ts';
import { ServerWitnesses } from './witnesses.ts';

const OWNER_ONLY_FOLDER = 0o700;

/** The keys of a home alone: for sealing, also while the server runs. */
export interface ServerKeys {
  readonly configuration: HomeConfiguration;
  readonly keyring: Keyring;
  readonly custodyHome: CustodyHome;
  readonly custodies: HomeCustodies;
  readonly modelKeys: ModelKeyStore;
  close(): Promise<void>;
}

/**
 * Opens the keys of a home.
 *
 * @throws RefusalError `home-not-found`, `configuration-yaml`, `shape-mismatch`, `key-*`, `keyring-other-server`,
 *   `custody-*`
 */
export async function openServerKeys(home: string, passphrase: string): Promise<ServerKeys> {
  const configuration = await readExistingConfiguration(home);
  const { mode, origin } = configuration;
  const keyring = await openKeyring({ path: join(home, HOME_PLACES.keyring), mode, origin, passphrase });
  const custodyHome = { folder: home, mode, origin, passphrase };
  const custodies = await HomeCustodies.open(custodyHome);
  try {
    const path = join(home, HOME_PLACES.modelKeys);
    const modelKeys = await openModelKeyStore({ path, custodies, origin, mode });
    const close = async (): Promise<void> => {
      modelKeys.close();
      await custodies.close();
    };
    return { configuration, keyring, custodies, custodyHome, modelKeys, close };
  } catch (error) {
    await custodies.close();
    throw error;
  }
}

async function readExistingConfiguration(home: string): Promise<HomeConfiguration> {
  try {
    return await readHomeConfiguration(home);
  } catch (cause) {
    if (!isRefusal(cause) || cause.refusal.code !== 'file-not-found') throw cause;
    const facts = { field: home, expected: 'the home of a server', found: 'no weightgate.yaml' };
    throw homeRefusals.error('home-not-found', facts, { cause });
  }
}

/** Everything that a server runs on. */
export interface ServerHome extends ServerKeys {
  readonly path: string;
  readonly log: ReleaseLog;
  readonly governance: GovernanceLog;
  readonly witnesses: ServerWitnesses;
  readonly storage: ServerStorage;
  readonly evidence: EvidenceStore;
  readonly verifier: VerifierSetup;
  readonly engine: ReleasePolicyEngine;
  /** Finishes the running append, then closes everything. */
  closeAll(): Promise<void>;
}

/**
 * Opens a home for a server to run on, and replays its log.
 *
 * @throws RefusalError `home-*`, and those of `openServerKeys`, `openReleaseLog`, `PublishedLog.replay`,
 *   `GovernanceLog.open`, `readAnchors`
 */
export async function openServerHome(home: string, passphrase: string, clock: Clock): Promise<ServerHome> {
  const keys = await openServerKeys(home, passphrase);
  const closers: (() => void | Promise<void>)[] = [() => keys.close()];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  try {
    const { configuration, keyring } = keys;
    const identity = logIdentityOf(keyring, configuration.origin);
    const witnesses = await ServerWitnesses.open(home, configuration, identity, clock);
    const { database } = configuration.log;
    const log = await openReleaseLog(join(home, HOME_PLACES.log), identity, {
      witnesses: witnesses.asked,
      database,
    });
    closers.push(() => log.close());
    const governance = await GovernanceLog.open(log, log.published.replay(), clock);
    refuseOtherIdentity(governance, configuration, logKeyOf(identity));
    await logCustodyEvents(keys, governance);
    const storage = ServerStorage.open(join(home, HOME_PLACES.storage));
    closers.push(() => {
      storage.close();
    });
    const evidence = await openEvidence(home, configuration);
    closers.push(() => {
      evidence.close();
    });
    const verifier = await openVerifier(home, configuration, clock);
    const engine = await openReleasePolicyEngine();
    return { ...keys, path: home, log, governance, witnesses, storage, evidence, verifier, engine, closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** RP-6. */
function refuseOtherIdentity(
  governance: GovernanceLog,
  { mode, origin }: HomeConfiguration,
  logKey: string,
): void {
  const { state } = governance;
  const pairs = [
    ['mode', state.mode, mode],
    ['origin', state.origin, origin],
    ['logKey', state.logKey, logKey],
  ] as const;
  for (const [member, expected, found] of pairs) {
    if (expected === found) continue;
    throw homeRefusals.error('home-mode', {
      field: member,
      expected: `${expected}, as in the genesis entry`,
      found,
    });
  }
}

/** Homes of before have no such folder. */
async function openEvidence(home: string, { evidence }: HomeConfiguration): Promise<EvidenceStore> {
  const folder = join(home, evidence.folder);
  try {
    await mkdir(folder, { recursive: true, mode: OWNER_ONLY_FOLDER });
  } catch (cause) {
    const facts = { field: folder, expected: 'a folder that can be made', found: 'none' };
    throw fileRefusals.error('file-not-written', facts, { cause });
  }
  return EvidenceStore.open(folder, evidence.keepDays);
}

async function openVerifier(
  home: string,
  configuration: HomeConfiguration,
  clock: Clock,
): Promise<VerifierSetup> {
  const folder = join(home, configuration.anchors);
  const anchors = new Map<string, readonly TrustAnchor[]>();
  for (const [name, { anchorPurposes }] of VERIFIED_CLASSES) {
    anchors.set(name, await readAnchors(folder, name, configuration.mode, anchorPurposes));
  }
  const sources = openCollateral(home, configuration, anchors, clock);
  const makerCertificates = await readIntermediates(folder, tpmDeviceClass.name, configuration.mode);
  const memory = new CertificateMemory();
  return { registry: DEVICE_CLASSES, anchors, makerCertificates, ...sources, memory };
}

function openCollateral(
  home: string,
  { collateral: { folder, keyService, nvidia } }: HomeConfiguration,
  anchors: ReadonlyMap<string, readonly TrustAnchor[]>,
  clock: Clock,
): CollateralSources {
  const store = new DirectoryStore(join(home, folder));
  const anchorsOf = (name: string): readonly TrustAnchor[] => anchors.get(name) ?? [];
  const ofNvidia = [nvidiaGpuDeviceClass, nvswitchDeviceClass].flatMap(({ name }) => anchorsOf(name));
  const attestation = nvidia?.attestation ?? undefined;
  return {
    collateral: new KeptCollateral({
      store,
      check: sevSnpCollateralCheck(anchorsOf(sevSnpDeviceClass.name)),
      clock,
      ...(keyService === null ? {} : { upstream: new AmdKds({ address: keyService }) }),
    }),
    nvidiaCollateral: new KeptCollateral<NvidiaItem>({
      store,
      check: nvidiaCollateralCheck(ofNvidia),
      clock,
      ...(nvidia === null
        ? {}
        : { upstream: new NvidiaServices({ addresses: { ...nvidia, attestation }, clock }) }),
    }),
    ...(attestation === undefined
      ? {}
      : { nvidiaRemote: new NvidiaRemoteService({ address: attestation, clock }) }),
  };
}
