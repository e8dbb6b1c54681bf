/** A release server and SEV-SNP guests: simulated ones, under a root that this evaluation server was given. */

import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';

import { computeBinding } from '../../attestation/core/binding.ts';
import { fromBase64, fromHex, toHex } from '../../attestation/core/bytes.ts';
import { decodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { NO_COMPANIONS } from '../../attestation/core/composite/companions.ts';
import { parseEvidenceValue, verifyEvidence } from '../../attestation/core/evidence.ts';
import { AMD_ROOTS } from '../../attestation/sev-snp/anchors/amd-roots.ts';
import { sevSnpDeviceClass } from '../../attestation/sev-snp/device-class.ts';
import {
  certificatesOfTable,
  claimedIdentity,
  readSevSnpEvidence,
} from '../../attestation/sev-snp/evidence.ts';
import { readTcb } from '../../attestation/sev-snp/tcb.ts';
import { collectEvidence, type EvidenceRequest } from '../../src/agent/evidence.ts';
import { prepareRelease, requestRelease } from '../../src/agent/key-release.ts';
import { machineName } from '../../src/agent/machine.ts';
import { SevSnpAttester } from '../../src/agent/sev-snp/attester.ts';
import { SimulatedAmd } from '../../src/agent/simulated/sev-snp-authority.ts';
import {
  manufactureSimulatedGuest,
  SimulatedSevGuest,
  type SimulatedMachine,
} from '../../src/agent/simulated/sev-snp-guest.ts';
import { deviceSetsOf } from '../../src/governance/device-sets.ts';
import type { DecisionEntry } from '../../src/governance/entries.ts';
import { referenceValuesFor } from '../../src/governance/state.ts';
import { DirectoryStore } from '../../src/platform/collateral/directory-store.ts';
import { KDS_ADDRESS } from '../../src/platform/collateral/amd-kds.ts';
import { NVIDIA_ADDRESSES } from '../../src/platform/collateral/nvidia-services.ts';
import { readAnchors } from '../../src/server/anchors.ts';
import { readHomeConfiguration } from '../../src/server/home-configuration.ts';
import { createServerHome } from '../../src/server/new-home.ts';
import { examplePredicates, exampleTrustRoot } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { MODEL_KEY, newHome, SUBJECT, TestClock, TestServer } from '../support/release-server.ts';
import { expectSameAtTheEnd, keptCollateral } from '../support/replay.ts';
import { GUEST_LAUNCH, simulatedAmd } from '../support/simulated-amd.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TransitService } from '../support/transit-service.ts';
import { vaultCustody } from '../support/vault-custody.ts';

const POLICIES = join(import.meta.dirname, '..', '..', 'policies');
const LINE = 'Genoa';
const DAY_SECONDS = 86_400;
const SLOW = 180_000;

const jsonFile = async (path: string): Promise<JsonValue> =>
  JSON.parse(await readFile(join(POLICIES, path), 'utf8')) as JsonValue;

async function shippedSettings(): Promise<Record<string, unknown>> {
  const text = await readFile(join(POLICIES, 'release', 'settings-sev-snp.yaml'), 'utf8');
  return parse(text) as Record<string, unknown>;
}

/** A server that grants to one accredited guest, and the means to make others. */
class Road {
  readonly server: TestServer;
  readonly amd: SimulatedAmd;
  readonly chipId = randomBytes(64);
  private statedAt = examplePredicates.accreditation.statedAt;

  private constructor(server: TestServer, amd: SimulatedAmd) {
    this.server = server;
    this.amd = amd;
  }

  static async build(settings: object = {}): Promise<Road> {
    const road = new Road(await TestServer.createReady(), simulatedAmd(LINE));
    expectSameAtTheEnd(road.server);
    await road.install();
    const shipped = await shippedSettings();
    const cedar = examplePredicates.releasePolicy.cedar;
    const policy = { ...shipped, cedar, epoch: 2, statedAt: 0, ...settings };
    await road.server.state('release-policy/v1', policy);
    await road.publish('good', GUEST_LAUNCH);
    await road.publish('amd-2026-02', await jsonFile('reference-values/sev-snp/amd-2026-02.json'));
    await road.accredit([await road.guest()]);
    return road;
  }

  async guest(machine: SimulatedMachine = {}): Promise<SevSnpAttester> {
    const folder = await temporaryFolder();
    await manufactureSimulatedGuest(folder, this.amd, { chipId: this.chipId, ...machine });
    return await SevSnpAttester.open(`simulated:${folder}`);
  }

  async accredit(guests: readonly SevSnpAttester[]): Promise<void> {
    const { accreditation } = examplePredicates;
    const machines = guests.map((guest, i) => {
      const [deviceClass, identity] = machineName(guest).split(':');
      return { name: `guest-${i}`, deviceClass, identity };
    });
    this.statedAt += 1;
    const endsAt = this.server.clock.start + 1_000_000;
    await this.server.state('lab-accreditation/v1', {
      ...accreditation,
      machines,
      endsAt,
      statedAt: this.statedAt,
    });
  }

  async publish(name: string, values: JsonValue): Promise<void> {
    const reference = { deviceClass: 'sev-snp', name, epoch: 1, values, statedAt: 0 };
    await this.server.state('reference-values/v1', reference);
  }

  /** `accepted`, or the code with which the server refuses. */
  ask(guest: SevSnpAttester, renews: string | null = null): Promise<string> {
    return refusalCodeAsync(() => requestRelease(this.server.agent(), { ...SUBJECT, renews }, [guest]));
  }

  async lastDecision(): Promise<DecisionEntry> {
    const entry = await this.server.lastEntry();
    if (entry.type !== 'decision') throw new Error(`the last entry is a ${entry.type}`);
    return entry;
  }

  /** The root where an evaluation server looks for simulated ones, and what AMD's service would give. */
  private async install(): Promise<void> {
    const { path } = this.server;
    const pem = (der: Uint8Array): string => new X509Certificate(der).toString();
    const store = join(path, 'collateral', 'sev-snp', LINE);
    await mkdir(join(path, 'anchors/simulated/sev-snp'), { recursive: true });
    await mkdir(store, { recursive: true });
    await writeFile(join(path, 'anchors/simulated/sev-snp/amd.pem'), pem(this.amd.root));
    await writeFile(join(store, 'vcek-chain.pem'), pem(this.amd.intermediate('vcek')) + pem(this.amd.root));
    await writeFile(join(store, 'vcek-crl.crl'), this.amd.revocationList());
    await this.server.restart();
  }
}

/** Takes the host's certificates away from a guest. @returns that of its chip, and what it reports */
async function takeCertificates(folder: string) {
  const { template } = await SimulatedSevGuest.open(folder);
  const path = join(folder, 'sev-snp-guest.json');
  const saved = JSON.parse(await readFile(path, 'utf8')) as Record<string, string>;
  const table = fromBase64(saved['certificateTable'] ?? '', 'certificateTable');
  await writeFile(path, JSON.stringify({ ...saved, certificateTable: '' }));
  return { vcek: certificatesOfTable(table, 'table').vcek!, template };
}

describe('a release to an SEV-SNP guest', () => {
  it(
    'RP-13, RP-23: an accredited guest gets the key without enrolment, and again for its lease',
    async () => {
      const road = await Road.build();
      const guest = await road.guest();
      const released = await requestRelease(road.server.agent(), SUBJECT, [guest]);
      expect(released.modelKey).toEqual(MODEL_KEY);
      const [device] = released.decision.claims;
      expect(device).toMatchObject({ class: 'sev-snp', simulated: true });
      expect(device?.claims).toMatchObject({
        identity: toHex(guest.identity),
        referenceValues: 'good',
        productLine: LINE,
        minimumTcbSets: ['amd-2026-02'],
        lab: 'lab-one',
      });
      expect(await road.ask(guest, released.lease.lease)).toBe('accepted');
    },
    SLOW,
  );

  it(
    'GV-49, SN-34: a chip of somebody else gets nothing, nor one that was struck off',
    async () => {
      const road = await Road.build();
      const foreign = await road.guest({ chipId: randomBytes(64) });
      expect(await road.ask(foreign)).toBe('snp-not-enrolled');
      const own = await road.guest();
      await road.accredit([foreign]);
      expect(await road.ask(own)).toBe('snp-not-enrolled');
      expect((await road.lastDecision()).outcome).toBe('refused');
    },
    SLOW,
  );

  it(
    'RP-19: nor does one where the policy leaves enrolment open',
    async () => {
      const { sevSnp } = (await shippedSettings()) as { sevSnp: Record<string, JsonValue> };
      const road = await Road.build({ sevSnp: { ...sevSnp, enrolment: 'not-required' } });
      expect(await road.ask(await road.guest())).toBe('accepted');
      expect(await road.ask(await road.guest({ chipId: randomBytes(64) }))).toBe('floor-machine');
    },
    SLOW,
  );

  it(
    'RP-18: bad guests are refused with the code of what is wrong, and logged',
    async () => {
      const road = await Road.build();
      const folder = await temporaryFolder();
      await manufactureSimulatedGuest(folder, road.amd);
      const { template } = await SimulatedSevGuest.open(folder);
      const debug = { report: { policy: { ...template.policy, debug: true } } };
      const old = { tcb: { fmc: undefined, bootLoader: 9, tee: 0, snp: 0x14, microcode: 0x40 } };
      const cases = [
        ['snp-debug', debug],
        ['snp-measurement', { report: { measurement: new Uint8Array(48).fill(7) } }],
        ['snp-reported-tcb-minimum', old],
        ['snp-vmpl', { report: { vmpl: 3 } }],
      ] as const;
      for (const [code, machine] of cases) {
        expect(await road.ask(await road.guest(machine))).toBe(code);
        const { outcome, refusals } = await road.lastDecision();
        expect(outcome).toBe('refused');
        expect(refusals[0]?.code).toBe(code);
      }
    },
    SLOW,
  );

  it(
    'RP-15, RP-17: neither a request sent again nor a report made for another one',
    async () => {
      const road = await Road.build();
      const guest = await road.guest();
      const { envelope } = await prepareRelease(road.server.agent(), SUBJECT, [guest]);
      await road.server.client.post('/v1/releases', envelope);
      const again = () => road.server.client.post('/v1/releases', envelope);
      expect(await refusalCodeAsync(again)).toBe('challenge-used');
      const old = await guest.collect({ class: 'sev-snp' }, randomBytes(32), NO_COMPANIONS);
      const { deviceClass, bindsCompanions, identity } = guest;
      const replay = { deviceClass, bindsCompanions, identity, collect: () => Promise.resolve(old) };
      const ask = () => requestRelease(road.server.agent(), SUBJECT, [replay]);
      expect(await refusalCodeAsync(ask)).toBe('snp-report-data');
    },
    SLOW,
  );

  it(
    'RP-35: certificates that the host does not give come from the home, and are kept with the decision',
    async () => {
      const road = await Road.build();
      const folder = await temporaryFolder();
      await manufactureSimulatedGuest(folder, road.amd, { chipId: road.chipId });
      const { vcek, template } = await takeCertificates(folder);
      const bare = await SevSnpAttester.open(`simulated:${folder}`);
      expect(bare.hasCertificate).toBe(false);
      expect(await road.ask(bare)).toBe('snp-certificate-missing');
      const tcb = readTcb('milan', template.reportedTcb, 'reportedTcb');
      const store = new DirectoryStore(join(road.server.path, 'collateral'));
      await store.put({ kind: 'vcek', line: LINE, chipId: road.chipId, tcb }, vcek);
      expect(await road.ask(bare)).toBe('accepted');
      const kept = keptCollateral(road.server, await road.lastDecision());
      expect([...kept.keys()].map((name) => name.split('/')[0]).sort()).toEqual([
        'ark',
        'ask',
        'crl',
        'vcek',
      ]);
    },
    SLOW,
  );

  it(
    'RP-35, W1: what is in the home but not in force, or of another root, counts for nothing',
    async () => {
      const road = await Road.build();
      const guest = await road.guest();
      const list = join(road.server.path, 'collateral/sev-snp', LINE, 'vcek-crl.crl');
      const now = road.server.clock.posixSeconds();
      const times = { thisUpdate: now - 400 * DAY_SECONDS, nextUpdate: now - DAY_SECONDS };
      await writeFile(list, road.amd.revocationList(times));
      expect(await road.ask(guest)).toBe('snp-revocation-missing');
      const codes = async () => (await road.lastDecision()).refusals.map(({ code }) => code);
      expect(await codes()).toEqual(['snp-revocation-missing', 'crl-stale']);
      await writeFile(list, (await SimulatedAmd.create(LINE, now)).revocationList());
      expect(await road.ask(guest)).toBe('snp-revocation-missing');
      expect(await codes()).toEqual(['snp-revocation-missing', 'crl-signature']);
      await writeFile(list, road.amd.revocationList({ revoked: ['ask'] }));
      expect(await road.ask(guest)).toBe('snp-authority-revoked');
    },
    SLOW,
  );

  it(
    'W1: without a revocation list nothing is granted',
    async () => {
      const road = await Road.build();
      const guest = await road.guest();
      await rm(join(road.server.path, 'collateral'), { recursive: true });
      expect(await road.ask(guest)).not.toBe('accepted');
      expect((await road.lastDecision()).refusals[0]?.code).toBe('snp-revocation-missing');
    },
    SLOW,
  );

  it(
    'RP-34, RP-35, W10: what was kept gives the same claims again',
    async () => {
      const road = await Road.build();
      const guest = await road.guest();
      const prepared = await prepareRelease(road.server.agent(), SUBJECT, [guest]);
      await road.server.client.post('/v1/releases', prepared.envelope);
      const decision = await road.lastDecision();
      const { evidence, governance, verifier } = road.server.home;
      const collateral = keptCollateral(road.server, decision);
      expect([...collateral.keys()]).toEqual([`crl/${LINE}`]);
      const payload = evidence.find(decision.requestDigest)!;
      const request = decodeCanonicalJson(payload, { maxBytes: 1 << 20 }, 'request') as {
        evidence: JsonValue;
        agentKey: string;
      };
      const claimed = parseEvidenceValue(request.evidence, verifier.registry);
      const identity = claimed[0]!.identity;
      const verdict = await verifyEvidence(claimed, {
        binding: computeBinding({
          challengeNonce: prepared.expectations.nonce,
          agentPublicKey: fromBase64(request.agentKey, 'agentKey'),
          lab: 'lab-one',
          manifestDigest: fromHex(decision.manifestDigest, 'manifestDigest'),
          inferencePolicyDigest: fromHex(decision.inferencePolicyDigest, 'inferencePolicyDigest'),
          logOrigin: governance.state.origin,
        }),
        lab: 'lab-one',
        time: decision.at,
        deviceSets: deviceSetsOf(governance.state.releasePolicy!.policy),
        classes: new Map([
          [
            'sev-snp',
            {
              anchors: verifier.anchors.get('sev-snp')!,
              collateral,
              referenceValues: referenceValuesFor(governance.state, 'sev-snp', {
                at: decision.at,
                machine: `sev-snp/${identity}`,
              }).map(({ values }) => values),
              policy: governance.state.releasePolicy!.policy.sevSnp!,
            },
          ],
        ]),
        enrolments: new Map([
          [`sev-snp/${identity}`, { version: 1, class: 'sev-snp', lab: 'lab-one', identity }],
        ]),
      });
      expect(verdict.outcome).toBe('accepted');
      if (verdict.outcome === 'accepted') expect(verdict.devices).toEqual([decision.claims[0]!.claims]);
    },
    SLOW,
  );
});

describe('sets of device classes', () => {
  it(
    'RP-13: an agent sends evidence of the first set that its machine has',
    async () => {
      const amd = simulatedAmd(LINE);
      const folder = await temporaryFolder();
      await manufactureSimulatedGuest(folder, amd);
      const guest = await SevSnpAttester.open(`simulated:${folder}`);
      const devices: EvidenceRequest['devices'] = [
        {
          class: 'tpm',
          bank: 'sha256',
          pcrs: [0],
          eventLog: false,
          imaList: false,
          agentPcr: null,
          ratchet: false,
        },
        { class: 'sev-snp' },
      ];
      const collect = (names: readonly (readonly string[])[]) => {
        const deviceSets = names.map((set) => set.map((name) => ({ class: name, count: 1 })));
        return collectEvidence({ devices, deviceSets }, [guest], randomBytes(32));
      };
      const bundle = (await collect([['tpm'], ['tpm', 'sev-snp'], ['sev-snp']])) as {
        devices: readonly { class: string; evidence: JsonValue }[];
      };
      expect(bundle.devices.map((device) => device.class)).toEqual(['sev-snp']);
      const evidence = readSevSnpEvidence(bundle.devices[0]!.evidence, 'evidence');
      expect(claimedIdentity(evidence)).toEqual(guest.identity);
      expect(await refusalCodeAsync(() => collect([['tpm'], ['tpm', 'sev-snp']]))).toBe(
        'evidence-device-missing',
      );
    },
    SLOW,
  );

  it(
    'RP-13, GV-39: a challenge asks for no class of which the policy does not speak',
    async () => {
      const road = await Road.build({ epoch: 3, deviceSets: [['tpm', 'sev-snp']] });
      expect(await road.ask(await road.guest())).toBe('challenge-not-possible');
    },
    SLOW,
  );

  it(
    'GV-39: a policy that cannot be read is refused before it comes into force',
    async () => {
      const server = await TestServer.createReady();
      const { releasePolicy } = examplePredicates;
      const state = (sevSnp: unknown) =>
        refusalCodeAsync(() => server.state('release-policy/v1', { ...releasePolicy, epoch: 9, sevSnp }));
      expect(await state({ version: 1 })).toBe('shape-member');
    },
    SLOW,
  );
});

describe('roots of AMD in a new home', () => {
  let vault: TransitService;
  beforeAll(async () => {
    vault = await TransitService.start();
  });
  afterAll(() => vault.close());

  async function anchorsOf(mode: 'evaluation' | 'production') {
    const path = join(await temporaryFolder(), 'home');
    const origin = mode === 'production' ? 'release.example' : 'release.example/evaluation';
    const changes = { mode, origin, trustRoot: exampleTrustRoot(mode) };
    const custody = mode === 'production' ? { custody: await vaultCustody(vault) } : {};
    await createServerHome(newHome(path, new TestClock(), { ...changes, ...custody }));
    return { path, anchors: await readAnchors(join(path, 'anchors'), sevSnpDeviceClass.name, mode) };
  }

  it(
    'RP-7, W9: are pinned by a production server, and by no evaluation server',
    async () => {
      const production = await anchorsOf('production');
      const pins = production.anchors.map((anchor) =>
        'publicKeyDigest' in anchor ? toHex(anchor.publicKeyDigest) : 'a certificate',
      );
      expect(pins.toSorted()).toEqual(AMD_ROOTS.map(({ publicKeyDigest }) => publicKeyDigest).toSorted());
      expect(production.anchors.every(({ simulated }) => !simulated)).toBe(true);
      expect(await readdir(join(production.path, 'anchors'))).not.toContain('simulated');
      const evaluation = await anchorsOf('evaluation');
      expect(evaluation.anchors).toEqual([]);
      const collateral = async ({ path }: { path: string }) => (await readHomeConfiguration(path)).collateral;
      expect(await collateral(production)).toEqual({
        folder: 'collateral',
        keyService: KDS_ADDRESS,
        nvidia: { ...NVIDIA_ADDRESSES, attestation: null },
      });
      expect(await collateral(evaluation)).toEqual({ folder: 'collateral', keyService: null, nvidia: null });
    },
    SLOW,
  );

  it(
    'RP-35: nothing is fetched for a home whose configuration does not speak of it',
    async () => {
      const { path } = await anchorsOf('production');
      const file = join(path, 'weightgate.yaml');
      const text = await readFile(file, 'utf8');
      const without = text.replace(/^collateral:\n(?: .*\n)+/m, '');
      expect(without).not.toBe(text);
      await writeFile(file, without);
      const { collateral } = await readHomeConfiguration(path);
      expect(collateral).toEqual({ folder: 'collateral', keyService: null, nvidia: null });
    },
    SLOW,
  );

  it(
    'W11: a pin of another form is refused',
    async () => {
      const { path } = await anchorsOf('production');
      for (const text of ['', 'AB'.repeat(32), 'ab'.repeat(31), `${'ab'.repeat(32)}\n\n`]) {
        await writeFile(join(path, 'anchors/sev-snp/other.spki-sha256'), text);
        const read = () => readAnchors(join(path, 'anchors'), 'sev-snp', 'production');
        expect(await refusalCodeAsync(read)).toBe('home-anchor');
      }
    },
    SLOW,
  );
});
