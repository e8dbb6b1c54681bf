import { beforeAll, describe, expect, it } from 'vitest';

import type { DeviceSet } from '../../attestation/core/composite/device-set.ts';
import type { ClaimedDevice } from '../../attestation/core/evidence.ts';
import { nvidiaGpuDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import { makeGpu } from '../../src/agent/simulated/nvidia-device.ts';
import type { NvidiaItem } from '../../src/platform/collateral/nvidia-items.ts';
import { collateralName, type CollateralSource } from '../../src/platform/collateral/source.ts';
import { gatherCollateral, type CollateralSources } from '../../src/server/collateral.ts';
import { evidenceOf, simulatedNvidia } from '../support/simulated-gpu.ts';

let devices: readonly [ClaimedDevice, ClaimedDevice];
beforeAll(async () => {
  const vendor = await simulatedNvidia();
  const claim = async (): Promise<ClaimedDevice> => {
    const device = await makeGpu(vendor.devices, { chip: 'GH100' });
    const evidence = nvidiaGpuDeviceClass.parse(await evidenceOf(device, new Uint8Array(32)), 'evidence');
    const identity = Buffer.from(nvidiaGpuDeviceClass.identify(evidence)).toString('hex');
    return { deviceClass: nvidiaGpuDeviceClass, evidence, evidenceDigest: new Uint8Array(32), identity };
  };
  devices = [await claim(), await claim()];
}, 60_000);

/** Sources that have nothing and remember what they were asked. */
function forgetful(): { readonly asked: string[]; readonly sources: CollateralSources } {
  const asked: string[] = [];
  const nvidiaCollateral: CollateralSource<NvidiaItem> = {
    find: (item) => {
      asked.push(collateralName(item));
      return Promise.resolve(undefined);
    },
  };
  return { asked, sources: { collateral: { find: () => Promise.resolve(undefined) }, nvidiaCollateral } };
}

const SETS: readonly DeviceSet[] = [1, 2].map((count) => [
  { class: 'nvidia-gpu', count, models: 'any', devices: 'any' },
]);

describe('what a server fetches', () => {
  it('CO-11: nothing for devices that it does not know, and it says so', async () => {
    const { asked, sources } = forgetful();
    const [known, stranger] = devices;
    const isKnown = (device: ClaimedDevice): boolean => device === known;
    const standing = { isKnown, isJudgedRemotely: () => false };
    const none = await gatherCollateral(sources, [stranger], SETS, standing);
    expect(asked).toEqual([]);
    expect(none.failures).toMatchObject([{ code: 'collateral-not-asked', found: stranger.identity }]);
    const both = await gatherCollateral(sources, [known, stranger], SETS, standing);
    expect(both.failures).toMatchObject([{ code: 'collateral-not-asked' }]);
    const alone = forgetful();
    await gatherCollateral(alone.sources, [known], SETS, standing);
    expect(alone.asked.length).toBeGreaterThan(0);
    expect(asked).toEqual(alone.asked);
  });
});
