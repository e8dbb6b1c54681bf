/** The simulated NVIDIA, read by our own readers and, where there is one, by a program that is not ours. */

import { execFile } from 'node:child_process';
import { createHash, verify, X509Certificate } from 'node:crypto';
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { describe, expect, it } from 'vitest';

import { equalBytes } from '../../../attestation/core/bytes.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { verifyOcspAnswer } from '../../../attestation/nvidia-gpu/ocsp/verify.ts';
import { readOpaqueData } from '../../../attestation/nvidia-gpu/opaque-data.ts';
import { readGpuFields, readSwitchFields } from '../../../attestation/nvidia-gpu/opaque-fields.ts';
import { authenticateRim } from '../../../attestation/nvidia-gpu/rim/authenticate.ts';
import { readRim } from '../../../attestation/nvidia-gpu/rim/document.ts';
import { readReport, signedBytes } from '../../../attestation/nvidia-gpu/spdm.ts';
import { makeGpu, makeSwitch } from '../../../src/agent/simulated/nvidia-device.ts';
import {
  makeProtectedPcie,
  saveSimulatedMachine,
  SimulatedGpuSystem,
  SimulatedSwitchSystem,
} from '../../../src/agent/simulated/nvidia-machine.ts';
import { manifestOf } from '../../../src/agent/simulated/nvidia-report.ts';
import type { SimulatedVendor } from '../../../src/agent/simulated/nvidia-vendor.ts';
import { absentPrograms } from '../../support/programs.ts';
import { simulatedNvidia } from '../../support/simulated-gpu.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const NONCE = new Uint8Array(32).fill(0x5a);
const NOW = Math.floor(Date.now() / 1000);
const CHIPS = ['GH100', 'GB100', 'GB202'] as const;
const withoutOpenssl = absentPrograms(['openssl']).length > 0;

describe('the simulated hierarchy of devices', () => {
  it.each([...CHIPS, 'LS10'] as const)('NS-1: has the names and extensions of %s', async (chip) => {
    const { devices } = await simulatedNvidia();
    const keys = await devices.certifyDevice({ chip });
    const chain = devices.chainOf(keys).map((der) => new X509Certificate(der));
    expect(chain).toHaveLength(5);
    chain.forEach((certificate, i) => {
      const issuer = chain[i + 1] ?? certificate;
      expect(certificate.verify(issuer.publicKey)).toBe(true);
      expect(certificate.ca).toBe(i > 0);
    });
    const family = {
      GH100: 'GH100 A01 GSP',
      GB100: 'GB100 A01 GSP',
      GB202: 'GB20X A01 GSP',
      LS10: 'LS_10 A01 FSP',
    };
    expect(chain[0]?.subject).toContain(`CN=${family[chip]} FMC LF`);
    expect(chain[1]?.subject).toContain(`CN=${family[chip]} BROM`);
    expect(chain[4]?.subject).toContain('CN=NVIDIA Device Identity CA');
  });

  it('NS-1: keeps the boot ROM key when the firmware changes', async () => {
    const { devices } = await simulatedNvidia();
    const before = await devices.certifyDevice({ chip: 'GH100' });
    const after = await devices.updateFirmware(before, new Uint8Array(48).fill(7));
    expect(after.brom).toBe(before.brom);
    expect(equalBytes(after.leaf.certificate, before.leaf.certificate)).toBe(false);
  });

  it.skipIf(withoutOpenssl)('NS-1, NS-4: OpenSSL accepts chains and answers (needs openssl)', async () => {
    const vendor = await simulatedNvidia();
    const folder = await temporaryFolder();
    const device = await makeGpu(vendor.devices);
    const names = ['leaf', 'brom', 'provisioner', 'identity', 'root'];
    const paths = names.map((name) => join(folder, `${name}.pem`));
    await Promise.all(
      device.chain.map((der, i) => writeFile(paths[i] ?? '', new X509Certificate(der).toString())),
    );
    const [leaf = '', brom = '', provisioner = '', identity = '', root = ''] = paths;
    const between = [brom, provisioner, identity].flatMap((path) => ['-untrusted', path]);
    const chain = await promisify(execFile)('openssl', ['verify', '-CAfile', root, ...between, leaf]);
    expect(chain.stdout).toContain('OK');
    const others = join(folder, 'others.pem');
    const above = device.chain.slice(2, 4).map((der) => new X509Certificate(der).toString());
    await writeFile(others, above.join(''));
    for (const status of ['good', 'revoked'] as const) {
      const answer = join(folder, `${status}.der`);
      await writeFile(answer, await vendor.answer(device.chain[1] ?? new Uint8Array(), { status }));
      const options = [
        '-sha384',
        '-issuer',
        provisioner,
        '-cert',
        brom,
        '-CAfile',
        root,
        '-verify_other',
        others,
      ];
      const { stdout, stderr } = await promisify(execFile)('openssl', [
        'ocsp',
        '-respin',
        answer,
        ...options,
      ]);
      expect(stderr).toContain('Response verify OK');
      expect(stdout).toContain(`: ${status}`);
    }
  });
});

describe('simulated reports', () => {
  it.each(CHIPS)('NS-2: are those of a GPU of %s', async (chip) => {
    const { devices } = await simulatedNvidia();
    for (const withHeader of [false, true]) {
      const device = await makeGpu(devices, { chip, withHeader });
      const bytes = await device.attestationReport(NONCE);
      const report = readReport(bytes, 'gpu');
      expect(report.request.nonce).toEqual(NONCE);
      const opaque = readOpaqueData(report.response.opaqueData, 'opaqueData');
      expect(opaque.format).toBe(withHeader ? 'typed' : 'packed');
      const fields = readGpuFields(opaque, 'opaqueData');
      expect(fields).toMatchObject({
        driverVersion: '590.48.01',
        featureFlag: 'spt',
        nvdec0Status: 'disabled',
      });
      const leaf = new X509Certificate(device.chain[0] ?? new Uint8Array());
      const key = { key: leaf.publicKey, dsaEncoding: 'ieee-p1363' } as const;
      expect(verify('sha384', signedBytes(bytes), key, report.signature)).toBe(true);
    }
  });

  it('NS-2: are those of a switch', async () => {
    const { devices } = await simulatedNvidia();
    const device = await makeSwitch(devices, { pdi: new Uint8Array(8).fill(3) });
    const report = readReport(await device.attestationReport(NONCE), 'switch');
    const fields = readSwitchFields(readOpaqueData(report.response.opaqueData, 'opaqueData'), 'opaqueData');
    expect(fields.pdi).toEqual(new Uint8Array(8).fill(3));
  });

  it('NS-3: have any member that is asked for', async () => {
    const { devices } = await simulatedNvidia();
    const value = new Uint8Array(48).fill(9);
    const device = await makeGpu(devices, {
      fields: { driverVersion: '1.2.3', nvdec0Status: 'enabled' },
      measurements: new Map([[21, value]]),
    });
    const { response } = readReport(await device.attestationReport(NONCE), 'gpu');
    expect(response.blocks[21]?.measurement.value).toEqual(value);
    const fields = readGpuFields(readOpaqueData(response.opaqueData, 'opaqueData'), 'opaqueData');
    expect(fields).toMatchObject({ driverVersion: '1.2.3', nvdec0Status: 'enabled' });
  });
});

describe('simulated manifests and answers', () => {
  const rimInputs = (vendor: SimulatedVendor, collateral: ReadonlyMap<string, Uint8Array>) => ({
    anchors: vendor.anchors,
    time: NOW,
    revocation: { collateral, maxAgeSeconds: 86_400, missing: 'refuse', hold: 'refuse' } as const,
  });

  it.each([
    ['GH100', 'driver'],
    ['GH100', 'vbios'],
    ['GB100', 'driver'],
    ['GB202', 'vbios'],
    ['LS10', 'switch'],
  ] as const)('NS-5: a manifest for %s (%s) is authentic and what it was made of', async (chip, role) => {
    const vendor = await simulatedNvidia();
    const device =
      chip === 'LS10' ? await makeSwitch(vendor.devices) : await makeGpu(vendor.devices, { chip });
    const collateral = await vendor.collateralFor(device);
    const contents = manifestOf(chip, role, '96.00.9F.00.01');
    const rim = await authenticateRim(
      readRim(vendor.manifests.issue(contents)),
      rimInputs(vendor, collateral),
    );
    expect(rim).toMatchObject({ simulated: true, anchor: 'Simulated NVIDIA manifests' });
    expect(rim.manifest).toMatchObject({ product: chip, colloquialVersion: '96.00.9F.00.01' });
  });

  it('NS-5: a manifest may ask for security versions', async () => {
    const vendor = await simulatedNvidia();
    const base = manifestOf('GH100', 'driver', '590.48.01');
    const resources = [...base.resources, { opaqueType: 37, active: true, minimumSvn: 3 }];
    const claimed = readRim(vendor.manifests.issue({ ...base, resources }));
    const device = await makeGpu(vendor.devices);
    const rim = await authenticateRim(claimed, rimInputs(vendor, await vendor.collateralFor(device)));
    expect(JSON.stringify(rim.manifest)).toContain('"minimum":3');
  });

  it('NS-6: the root of manifests is none for devices, nor the other way round', async () => {
    const vendor = await simulatedNvidia();
    const claimed = readRim(vendor.manifests.issue(manifestOf('GH100', 'driver', '590.48.01')));
    const swapped = vendor.anchors.map((anchor) => ({
      ...anchor,
      purpose: anchor.purpose === 'endorsements' ? ('reference-values' as const) : ('endorsements' as const),
    }));
    const inputs = { ...rimInputs(vendor, new Map()), anchors: swapped };
    await expect(authenticateRim(claimed, inputs)).rejects.toMatchObject({ family: 'inauthentic' });
  });

  it.each(['good', 'revoked', 'hold', 'unknown'] as const)('NS-4: an answer says %s', async (status) => {
    const vendor = await simulatedNvidia();
    const [, brom, provisioner] = (await makeGpu(vendor.devices)).chain;
    const certificate = readCertificate(brom ?? new Uint8Array(), 'brom');
    const issuer = readCertificate(provisioner ?? new Uint8Array(), 'provisioner');
    const nonce = new Uint8Array(32).fill(1);
    const answer = await vendor.answer(certificate.encoded, { status, nonce });
    const question = { certificate, issuer, time: NOW, maxAgeSeconds: 86_400, nonce };
    expect(await verifyOcspAnswer(answer, question)).toMatchObject({ status });
  });
});

describe('a simulated machine in a folder', () => {
  it('NS-7: gives the same devices again, and keeps its keys to its owner', async () => {
    const { devices } = await simulatedNvidia();
    const folder = await temporaryFolder();
    const made = await makeProtectedPcie(devices, [{}, {}], [{}]);
    await saveSimulatedMachine(folder, made, { state: { multiGpuMode: 'protected-pcie' } });
    expect((await stat(join(folder, 'nvidia-machine.json'))).mode & 0o077).toBe(0);
    const system = await SimulatedGpuSystem.open(folder);
    const switches = await SimulatedSwitchSystem.open(folder);
    expect([...system.gpus, ...switches.switches].map(({ name }) => name)).toEqual(
      made.map(({ name }) => name),
    );
    expect(await system.confidentialCompute()).toMatchObject({
      enabled: true,
      multiGpuMode: 'protected-pcie',
    });
    const chain = await system.gpus[0]?.certificateChain();
    expect(chain?.length).toBeGreaterThan(3000);
    const report = readReport((await system.gpus[0]?.attestationReport(NONCE)) ?? new Uint8Array(), 'gpu');
    expect(report.request.nonce).toEqual(NONCE);
  });

  it('NS-8: GPUs take no work until they are told to', async () => {
    const { devices } = await simulatedNvidia();
    const folder = await temporaryFolder();
    await saveSimulatedMachine(folder, [await makeGpu(devices)]);
    const system = await SimulatedGpuSystem.open(folder);
    expect(await system.acceptsWork()).toBe(false);
    await system.setAcceptsWork(true);
    expect(await system.acceptsWork()).toBe(true);
    await system.close();
  });

  it('NS-9: GPUs and switches in protected PCIe mode name each other', async () => {
    const { devices } = await simulatedNvidia();
    const made = await makeProtectedPcie(devices, [{}, {}], [{}, {}]);
    const opaqueOf = (i: number) =>
      readOpaqueData(made[i]?.template.response.opaqueData ?? new Uint8Array(), 'o');
    const gpu = readGpuFields(opaqueOf(0), 'opaqueData');
    const first = readSwitchFields(opaqueOf(2), 'opaqueData');
    const second = readSwitchFields(opaqueOf(3), 'opaqueData');
    expect(gpu).toMatchObject({ featureFlag: 'ppcie', protectedPcie: 'enabled' });
    const named = new Set(gpu.switchPdis?.map((pdi) => createHash('sha256').update(pdi).digest('hex')));
    expect(named).toEqual(
      new Set([first.pdi, second.pdi].map((pdi) => createHash('sha256').update(pdi).digest('hex'))),
    );
    expect(first.gpuPdis.filter((pdi) => pdi.some((byte) => byte !== 0))).toHaveLength(2);
  });
});
