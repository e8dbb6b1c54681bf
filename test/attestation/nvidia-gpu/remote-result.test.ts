import { beforeAll, describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import type { Verdict } from '../../../attestation/core/verdict.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import type { GpuClaims } from '../../../attestation/nvidia-gpu/claims.ts';
import { nvidiaGpuDeviceClass } from '../../../attestation/nvidia-gpu/device-class.ts';
import { NRAS_KEYS_NAME, nrasCollateralName } from '../../../attestation/nvidia-gpu/nras/verify.ts';
import { makeGpu } from '../../../src/agent/simulated/nvidia-device.ts';
import type { SimulatedNvidiaDevice } from '../../../src/agent/simulated/nvidia-device.ts';
import { SimulatedVendor } from '../../../src/agent/simulated/nvidia-vendor.ts';
import {
  answerOver,
  goodGpu,
  keySet,
  NRAS_NONCE,
  NRAS_TIME,
  NrasSigner,
} from '../../support/nras-service.ts';
import { evidenceOf, GPU_POLICY, inputsFor } from '../../support/simulated-gpu.ts';

let signer: NrasSigner;
let gpu: SimulatedNvidiaDevice;
let inputs: DeviceInputs;
let answerName: string;
let answer: Uint8Array;

beforeAll(async () => {
  signer = new NrasSigner();
  const vendor = await SimulatedVendor.create(NRAS_TIME);
  gpu = await makeGpu(vendor.devices);
  const leaf = readCertificate(gpu.chain[0]!, 'leaf');
  answerName = nrasCollateralName(leaf);
  answer = answerOver(signer, {
    'GPU-0': signer.token({
      ...goodGpu,
      ueid: BigInt(`0x${toHex(leaf.serialNumber)}`).toString(),
      'x-nvidia-gpu-driver-version': '590.48.01',
      'x-nvidia-gpu-vbios-version': '96.00.9F.00.01',
    }),
  });
  const good = await inputsFor(vendor, gpu, NRAS_NONCE);
  const real = good.anchors.map((anchor) => ({ ...anchor, simulated: false }));
  inputs = { ...good, time: NRAS_TIME, anchors: [...real, signer.anchor()] };
});

async function verdict(
  remoteResult: JsonValue,
  added: readonly (readonly [string, Uint8Array])[],
  changes: Partial<DeviceInputs> = {},
): Promise<Verdict<GpuClaims>> {
  const evidence = nvidiaGpuDeviceClass.parse(await evidenceOf(gpu, NRAS_NONCE), 'evidence');
  return await nvidiaGpuDeviceClass.verify(evidence, {
    ...inputs,
    policy: { ...GPU_POLICY, remoteResult },
    collateral: new Map([...inputs.collateral, ...added]),
    ...changes,
  });
}

describe('results of the remote service', () => {
  const keys = (): readonly [string, Uint8Array] => [NRAS_KEYS_NAME, keySet(signer.jwk())];

  it('NG-48: are in the claims where the policy demands one', async () => {
    const accepted = await verdict('required', [[answerName, answer], keys()]);
    expect(accepted).toMatchObject({
      outcome: 'accepted',
      claims: { simulated: false, remoteResult: { issuedAt: NRAS_TIME - 10 } },
    });
  });

  it('NG-48: are demanded by nothing but the policy, and then not looked at', async () => {
    expect(await verdict('not-used', [])).toMatchObject({
      outcome: 'accepted',
      claims: { remoteResult: null },
    });
    const broken = [[answerName, new Uint8Array(3)]] as const;
    expect(await verdict('not-used', broken)).toMatchObject({ outcome: 'accepted' });
  });

  it.each([
    ['the answer', () => [keys()]],
    ['the keys', () => [[answerName, answer]]],
  ] as const)('NG-48: are refused without %s', async (_, added) => {
    const refused = await verdict('required', added() as [string, Uint8Array][]);
    expect(refused).toMatchObject({ outcome: 'refused', refusals: [{ code: 'gpu-remote-result' }] });
  });

  it('NG-48: are about this device, this nonce and these versions', async () => {
    const other = answerOver(signer, { 'GPU-0': signer.token(goodGpu) });
    expect(await verdict('required', [[answerName, other], keys()])).toMatchObject({ outcome: 'refused' });
    const changed = NRAS_NONCE.with(0, 1);
    const evidence = nvidiaGpuDeviceClass.parse(await evidenceOf(gpu, changed), 'evidence');
    const refused = await nvidiaGpuDeviceClass.verify(evidence, {
      ...inputs,
      expectedDeviceValue: changed,
      policy: { ...GPU_POLICY, remoteResult: 'required' },
      collateral: new Map([...inputs.collateral, [answerName, answer], keys()]),
    });
    expect(refused).toMatchObject({ refusals: [{ code: 'nras-nonce' }] });
  });

  it('NG-38: NG-48: count only below an authority for results, and one of simulated hardware shows', async () => {
    const added = [[answerName, answer], keys()] as const;
    const without = inputs.anchors.filter(({ purpose }) => purpose !== 'attestation-results');
    expect(await verdict('required', added, { anchors: without })).toMatchObject({ outcome: 'refused' });
    const asRoot = [...without, signer.anchor({ purpose: 'endorsements' })];
    expect(await verdict('required', added, { anchors: asRoot })).toMatchObject({ outcome: 'refused' });
    const simulated = [...without, signer.anchor({ simulated: true })];
    expect(await verdict('required', added, { anchors: simulated })).toMatchObject({
      outcome: 'accepted',
      claims: { simulated: true },
    });
  });

  it('NG-48: stand in for nothing: manifests are compared all the same', async () => {
    const collateral = [...inputs.collateral].filter(([name]) => !name.startsWith('rim:'));
    const refused = await verdict('required', [], {
      collateral: new Map([...collateral, [answerName, answer], keys()]),
    });
    expect(refused).toMatchObject({ refusals: [{ code: 'gpu-manifest' }, { code: 'gpu-manifest' }, {}, {}] });
  });
});
