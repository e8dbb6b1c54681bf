/** A release server and a machine of two devices: an SEV-SNP guest whose report names the evidence of its GPU. */

import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';

import { toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { nvidiaGpuDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import type { DeviceEvidence, GpuEvidence } from '../../attestation/nvidia-gpu/evidence.ts';
import type { DeviceAttester } from '../../src/agent/evidence.ts';
import { requestRelease } from '../../src/agent/key-release.ts';
import { machineName } from '../../src/agent/machine.ts';
import { SevSnpAttester } from '../../src/agent/sev-snp/attester.ts';
import { makeGpu, type SimulatedNvidiaDevice } from '../../src/agent/simulated/nvidia-device.ts';
import type { SimulatedVendor } from '../../src/agent/simulated/nvidia-vendor.ts';
import type { SimulatedAmd } from '../../src/agent/simulated/sev-snp-authority.ts';
import { manufactureSimulatedGuest } from '../../src/agent/simulated/sev-snp-guest.ts';
import type { DecisionEntry } from '../../src/governance/entries.ts';
import { DirectoryStore } from '../../src/platform/collateral/directory-store.ts';
import { pinFile } from '../../src/server/anchors.ts';
import { judgeEvidence, lookUpBasis, type VerifierSetup } from '../../src/server/evidence.ts';
import { collect } from '../support/composite-world.ts';
import { examplePredicates } from '../support/governance.ts';
import { answerOver, goodGpu, keySet, NrasSigner } from '../support/nras-service.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { MODEL_KEY, SUBJECT, TestServer } from '../support/release-server.ts';
import { expectSameAtTheEnd } from '../support/replay.ts';
import { GUEST_LAUNCH, simulatedAmd } from '../support/simulated-amd.ts';
import { evidenceOf, manifestReferences, simulatedNvidia } from '../support/simulated-gpu.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const POLICIES = join(import.meta.dirname, '..', '..', 'policies');
const LINE = 'Genoa';
const SLOW = 240_000;

let amd: SimulatedAmd;
let nvidia: SimulatedVendor;
let gpus: readonly [SimulatedNvidiaDevice, SimulatedNvidiaDevice];
beforeAll(async () => {
  [amd, nvidia] = [simulatedAmd(LINE), await simulatedNvidia()];
  gpus = [await makeGpu(nvidia.devices), await makeGpu(nvidia.devices)];
}, SLOW);

async function guestOf(): Promise<SevSnpAttester> {
  const folder = join(await temporaryFolder(), 'guest');
  await manufactureSimulatedGuest(folder, amd, { chipId: randomBytes(64) });
  return await SevSnpAttester.open(`simulated:${folder}`);
}

async function attesterOf(device: SimulatedNvidiaDevice): Promise<DeviceAttester> {
  const parsed = nvidiaGpuDeviceClass.parse(await evidenceOf(device, new Uint8Array(32)), 'evidence');
  return {
    deviceClass: 'nvidia-gpu',
    bindsCompanions: false,
    identity: nvidiaGpuDeviceClass.identify(parsed),
    collect: (_request, deviceValue) => evidenceOf(device, deviceValue),
  };
}

/** The roots where an evaluation server looks for simulated ones, and what services of the vendors would give. */
async function install(server: TestServer): Promise<void> {
  const anchors = join(server.path, 'anchors', 'simulated');
  const pem = (der: Uint8Array): string => new X509Certificate(der).toString();
  await mkdir(join(anchors, 'nvidia-gpu', 'reference-values'), { recursive: true });
  await mkdir(join(anchors, 'sev-snp'), { recursive: true });
  await writeFile(join(anchors, 'sev-snp', 'amd.pem'), pem(amd.root));
  for (const anchor of nvidia.anchors) {
    if (!('publicKeyDigest' in anchor)) throw new Error('an anchor that is no pin');
    const { name, content } = pinFile('nvidia', toHex(anchor.publicKeyDigest));
    const folder = anchor.purpose === 'reference-values' ? 'nvidia-gpu/reference-values' : 'nvidia-gpu';
    await writeFile(join(anchors, folder, name), content);
  }
  const store = new DirectoryStore(join(server.path, 'collateral'));
  await store.put({ kind: 'crl', line: LINE, signer: 'vcek' }, amd.revocationList());
  const chain = toUtf8(pem(amd.intermediate('vcek')) + pem(amd.root));
  await store.put({ kind: 'chain', line: LINE, signer: 'vcek' }, chain);
  for (const device of gpus) await storeFor(store, device);
  await server.restart();
}

async function storeFor(store: DirectoryStore, device: SimulatedNvidiaDevice): Promise<void> {
  const manifestChain = nvidia.manifests.chainOf(device.chip).map(({ certificate }) => certificate);
  for (const [name, bytes] of nvidia.manifestsFor(device)) {
    await store.put({ kind: 'rim', identifier: name.replace(/^rim:/, '') }, bytes);
  }
  for (const chain of [device.chain.slice(1), manifestChain]) {
    for (const [i, certificate] of chain.slice(0, -1).entries()) {
      await store.put({ kind: 'ocsp', chain: chain.slice(i) }, await nvidia.answer(certificate));
    }
  }
}

/** A server that grants to a machine of one guest and one GPU. @param gpuPolicy members that are changed */
async function serverFor(
  machine: readonly DeviceAttester[],
  gpuPolicy: Readonly<Record<string, JsonValue>> = {},
): Promise<TestServer> {
  const server = await TestServer.createReady();
  expectSameAtTheEnd(server);
  await install(server);
  const text = await readFile(join(POLICIES, 'release', 'settings-sev-snp-nvidia-gpu.yaml'), 'utf8');
  const parsed = parse(text) as Record<'nvidiaGpu', object>;
  const settings = { ...parsed, nvidiaGpu: { ...parsed.nvidiaGpu, ...gpuPolicy } };
  const { cedar } = examplePredicates.releasePolicy;
  await server.state('release-policy/v1', { ...settings, cedar, epoch: 2, statedAt: 0 });
  const minima = await readFile(join(POLICIES, 'reference-values', 'sev-snp', 'amd-2026-02.json'), 'utf8');
  const values: readonly (readonly [string, string, JsonValue])[] = [
    ['sev-snp', 'good', GUEST_LAUNCH],
    ['sev-snp', 'amd-2026-02', JSON.parse(minima) as JsonValue],
    ...manifestReferences(nvidia, gpus[0]).map(
      (reference, i) => ['nvidia-gpu', `manifest-${i}`, reference] as const,
    ),
  ];
  for (const [deviceClass, name, document] of values) {
    const { referenceValues } = examplePredicates;
    await server.state('reference-values/v1', { ...referenceValues, deviceClass, name, values: document });
  }
  const machines = machine.map((device, i) => {
    const [deviceClass, identity] = machineName(device).split(':');
    return { name: `device-${i}`, deviceClass, identity };
  });
  const endsAt = server.clock.start + 1_000_000;
  const statedAt = examplePredicates.accreditation.statedAt + 1;
  await server.state('lab-accreditation/v1', {
    ...examplePredicates.accreditation,
    machines,
    endsAt,
    statedAt,
  });
  return server;
}

/** NVIDIA's attestation service as it answers about a device that is in order. */
function serviceOf(signer: NrasSigner, time: number) {
  const times = { iat: time - 10, nbf: time - 10, exp: time + 3000 };
  return {
    ask: ({ report, certificates: [leaf] }: DeviceEvidence): Promise<Uint8Array> => {
      const { serialNumber } = readCertificate(leaf ?? new Uint8Array(), 'leaf');
      const said = { ...times, eat_nonce: toHex(report.message.request.nonce) };
      const { driverVersion, vbiosVersion } = report.fields as GpuEvidence['report']['fields'];
      const claims = {
        ...{ ...goodGpu, ...said, ueid: BigInt(`0x${toHex(serialNumber)}`).toString() },
        'x-nvidia-gpu-driver-version': driverVersion,
        'x-nvidia-gpu-vbios-version': vbiosVersion,
      };
      return Promise.resolve(answerOver(signer, { 'GPU-0': signer.token(claims) }, said));
    },
  };
}

async function lastDecision(server: TestServer): Promise<DecisionEntry> {
  const entry = await server.lastEntry();
  if (entry.type !== 'decision') throw new Error(`the last entry is a ${entry.type}`);
  return entry;
}

describe('a release to a machine with a GPU', () => {
  it(
    'CM-6, RP-23, W9: is granted, and the log shows each device and that it is simulated',
    async () => {
      const machine = [await guestOf(), await attesterOf(gpus[0])];
      const server = await serverFor(machine);
      const released = await requestRelease(server.agent(), SUBJECT, machine);
      expect(released.modelKey).toEqual(MODEL_KEY);
      expect(released.decision.claims).toMatchObject([
        { class: 'nvidia-gpu', simulated: true, claims: { chip: 'GH100', attachment: 'software-asserted' } },
        { class: 'sev-snp', simulated: true, claims: { productLine: LINE } },
      ]);
      const again = { ...SUBJECT, renews: released.lease.lease };
      expect(await refusalCodeAsync(() => requestRelease(server.agent(), again, machine))).toBe('accepted');
    },
    SLOW,
  );

  it(
    'CM-6, CM-8, CM-11: the GPU is not left out, not doubled, and not that of a stranger',
    async () => {
      const [guest, gpu, other] = [await guestOf(), await attesterOf(gpus[0]), await attesterOf(gpus[1])];
      const server = await serverFor([guest, gpu, other]);
      const ask = (machine: readonly DeviceAttester[]): Promise<string> =>
        refusalCodeAsync(() => requestRelease(server.agent(), SUBJECT, machine));
      expect(await ask([guest])).toBe('evidence-device-missing');
      expect(await ask([guest, gpu, other])).toBe('evidence-device-missing');
      const forgetful: DeviceAttester = { ...gpu, deviceClass: 'nvidia-gpu', bindsCompanions: true };
      // An agent that collects in the wrong order has a report that names no GPU.
      expect(await ask([guest, forgetful])).toBe('snp-report-data');
      expect((await lastDecision(server)).refusals).toMatchObject([{ code: 'snp-report-data' }]);
      const relayed: DeviceAttester = {
        ...gpu,
        collect: (_request, deviceValue) => evidenceOf(gpus[1], deviceValue),
      };
      expect(await ask([guest, relayed])).toBe('gpu-nonce');
      expect(await ask([guest, gpu])).toBe('accepted');
    },
    SLOW,
  );

  it(
    'NG-48, CO-19: is granted with the result that the policy demands of NVIDIA, and never without',
    async () => {
      const machine = [await guestOf(), await attesterOf(gpus[0])];
      const server = await serverFor(machine, { remoteResult: 'required' });
      const { verifier, governance, storage } = server.home;
      const time = governance.now();
      const signer = new NrasSigner(time);
      const anchorsOfGpus = [
        ...(verifier.anchors.get('nvidia-gpu') ?? []),
        signer.anchor({ simulated: true }),
      ];
      const remote: VerifierSetup = {
        ...verifier,
        anchors: new Map([...verifier.anchors, ['nvidia-gpu', anchorsOfGpus]]),
        nvidiaCollateral: {
          find: (item) =>
            item.kind === 'nras-keys'
              ? Promise.resolve(keySet(signer.jwk()))
              : verifier.nvidiaCollateral.find(item),
        },
        nvidiaRemote: serviceOf(signer, time),
      };
      const judge = async (setup: VerifierSetup) => {
        const binding = randomBytes(32);
        const devices = (await collect(machine, binding)).map((device) => ({ ...device }));
        const question = { evidence: { version: 1, devices }, binding, lab: 'lab-one', time };
        return await judgeEvidence(setup, governance.state, question, lookUpBasis(setup, storage, question));
      };
      const granted = await judge(remote);
      expect(granted.summary).toMatchObject({ outcome: 'accepted' });
      expect([...granted.basis.collateral.keys()].filter((name) => name.startsWith('nras'))).toHaveLength(2);
      const { nvidiaRemote: _, ...without } = remote;
      const codes = ({ summary }: Awaited<ReturnType<typeof judge>>): readonly string[] =>
        summary.outcome === 'refused' ? summary.refusals.map(({ code }) => code) : [];
      expect(codes(await judge(without))).toEqual(['gpu-remote-result', 'collateral-service-missing']);
      const strangers = { ...remote, nvidiaRemote: serviceOf(new NrasSigner(time), time) };
      expect(codes(await judge(strangers))).toEqual(['nras-signature']);
    },
    SLOW,
  );

  it(
    'RP-35: nothing is looked up for devices of no declared set',
    async () => {
      const [guest, gpu, other] = [await guestOf(), await attesterOf(gpus[0]), await attesterOf(gpus[1])];
      const server = await serverFor([guest, gpu, other]);
      const { verifier, governance, storage } = server.home;
      const asked: string[] = [];
      const find = (item: { readonly kind: string }) => {
        asked.push(item.kind);
        return Promise.resolve(undefined);
      };
      const counting = { ...verifier, collateral: { find }, nvidiaCollateral: { find } };
      const judge = async (machine: readonly DeviceAttester[]): Promise<readonly string[]> => {
        const binding = randomBytes(32);
        const devices = (await collect(machine, binding)).map((device) => ({ ...device }));
        const question = {
          evidence: { version: 1, devices },
          binding,
          lab: 'lab-one',
          time: governance.now(),
        };
        const findBasis = lookUpBasis(counting, storage, question);
        const { summary } = await judgeEvidence(counting, governance.state, question, findBasis);
        return summary.outcome === 'refused' ? summary.refusals.map(({ code }) => code) : ['accepted'];
      };
      expect(await judge([guest, gpu, other])).toEqual(['composite-device-extra']);
      expect(await judge([guest])).toEqual(['composite-device-missing']);
      expect(asked).toEqual([]);
      expect(await judge([guest, gpu])).toContain('snp-revocation-missing');
      expect(asked).toEqual(expect.arrayContaining(['crl', 'rim', 'ocsp']));
    },
    SLOW,
  );
});
