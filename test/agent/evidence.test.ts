import { randomBytes } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { computeDeviceValue } from '../../attestation/core/binding.ts';
import { toHex } from '../../attestation/core/bytes.ts';
import { computeCompanionsDigest, NO_COMPANIONS } from '../../attestation/core/composite/companions.ts';
import { digestOfEvidence } from '../../attestation/core/evidence.ts';
import { collectEvidence, type DeviceAttester, type DeviceRequest } from '../../src/agent/evidence.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';

interface Asked {
  readonly device: string;
  readonly deviceValue: string;
  readonly companionsDigest: string;
}

/** Devices that show what they are asked, and in which order. */
class Machine {
  readonly asked: Asked[] = [];
  readonly attesters: readonly DeviceAttester[];

  constructor(...devices: readonly DeviceRequest['class'][]) {
    this.attesters = devices.map((deviceClass, i) => ({
      deviceClass,
      bindsCompanions: deviceClass === 'sev-snp',
      identity: new Uint8Array(32).fill(i + 1),
      collect: (request, deviceValue, companionsDigest) => {
        const device = `${request.class} ${i}`;
        this.asked.push({
          device,
          deviceValue: toHex(deviceValue),
          companionsDigest: toHex(companionsDigest),
        });
        return Promise.resolve({ device });
      },
    }));
  }
}

const BINDING = new Uint8Array(randomBytes(32));
const devices: readonly DeviceRequest[] = [
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
  { class: 'nvidia-gpu' },
];
const setOf = (...demands: readonly (readonly [string, number])[]) =>
  demands.map(([name, count]) => ({ class: name, count }));

async function collect(machine: Machine, ...deviceSets: readonly ReturnType<typeof setOf>[]) {
  const bundle = await collectEvidence({ devices, deviceSets }, machine.attesters, BINDING);
  return bundle as unknown as { readonly devices: readonly { readonly class: string }[] };
}

describe('the evidence of a machine', () => {
  it('CM-8: the companions come first and the CPU last, with the digest of what was collected', async () => {
    const machine = new Machine('sev-snp', 'nvidia-gpu', 'tpm', 'nvidia-gpu');
    const set = setOf(['sev-snp', 1], ['tpm', 1], ['nvidia-gpu', 2]);
    const bundle = await collect(machine, set);
    expect(machine.asked.map(({ device }) => device)).toEqual([
      'tpm 2',
      'nvidia-gpu 1',
      'nvidia-gpu 3',
      'sev-snp 0',
    ]);
    expect(bundle.devices.map((device) => device.class)).toEqual([
      'tpm',
      'nvidia-gpu',
      'nvidia-gpu',
      'sev-snp',
    ]);
    const companions = machine.attesters.slice(1).map(({ deviceClass, identity }, i) => ({
      deviceClass,
      identity,
      evidenceDigest: digestOfEvidence({ device: `${deviceClass} ${i + 1}` }),
    }));
    expect(machine.asked.at(-1)?.companionsDigest).toBe(toHex(computeCompanionsDigest(companions)));
  });

  it('RP-17: each device has a value of its own, of the same binding', async () => {
    const machine = new Machine('nvidia-gpu', 'nvidia-gpu', 'sev-snp');
    await collect(machine, setOf(['sev-snp', 1], ['nvidia-gpu', 2]));
    const values = machine.asked.map(({ deviceValue }) => deviceValue);
    const expected = machine.attesters.map(({ deviceClass, identity }) =>
      toHex(computeDeviceValue(deviceClass, BINDING, identity)),
    );
    expect(values).toEqual(expected);
    expect(new Set(values).size).toBe(3);
  });

  it('CM-3: a device alone names no companions', async () => {
    const machine = new Machine('sev-snp', 'tpm');
    await collect(machine, setOf(['sev-snp', 1]));
    expect(machine.asked).toMatchObject([{ device: 'sev-snp 0', companionsDigest: toHex(NO_COMPANIONS) }]);
  });

  it('CM-8: all devices of a class are in it, or none', async () => {
    const two = new Machine('sev-snp', 'nvidia-gpu', 'nvidia-gpu');
    const code = (...sets: readonly ReturnType<typeof setOf>[]) =>
      refusalCodeAsync(() => collect(two, ...sets));
    expect(await code(setOf(['sev-snp', 1], ['nvidia-gpu', 1]))).toBe('evidence-device-missing');
    expect(await code(setOf(['sev-snp', 1], ['nvidia-gpu', 3]))).toBe('evidence-device-missing');
    expect(await code(setOf(['sev-snp', 1], ['unasked', 1]))).toBe('evidence-device-missing');
    expect(two.asked).toEqual([]);
    expect(await code(setOf(['tpm', 1]), setOf(['sev-snp', 1], ['nvidia-gpu', 2]))).toBe('accepted');
  });
});
