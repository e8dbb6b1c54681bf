/** Every device class, and the template for new ones, keeps the contract of device classes. */

import { describeDeviceClass } from './contract.ts';
import { makeExampleFixture } from './example-fixture.ts';
import { makeNvidiaGpuFixture, makeNvswitchFixture } from './nvidia-gpu-fixture.ts';
import { makeSevSnpFixture } from './sev-snp-fixture.ts';
import { makeTpmFixture } from './tpm-fixture.ts';

describeDeviceClass('tpm', makeTpmFixture);
describeDeviceClass('sev-snp', () => Promise.resolve(makeSevSnpFixture()));
describeDeviceClass('nvidia-gpu', makeNvidiaGpuFixture);
describeDeviceClass('nvswitch', makeNvswitchFixture);
describeDeviceClass('example', makeExampleFixture);
