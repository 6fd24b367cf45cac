// A Vendure shop on SQLite. `node shop.js fill` writes the sample products; `node shop.js PORT` serves it.
const path = require('path');
const core = require('@vendure/core');
const { populate } = require('@vendure/core/cli');

const filling = process.argv[2] === 'fill';
const settings = {
  apiOptions: { port: filling ? 0 : Number(process.argv[2]), hostname: '127.0.0.1', adminApiPath: 'admin-api', shopApiPath: 'shop-api' },
  authOptions: {
    tokenMethod: ['bearer', 'cookie'],
    superadminCredentials: { identifier: 'superadmin', password: 'superadmin' },
    cookieOptions: { secret: 'only-for-tests' },
    requireVerification: false,
  },
  dbConnectionOptions: {
    type: 'better-sqlite3',
    synchronize: true,
    logging: false,
    database: path.join(__dirname, 'shop.sqlite'),
  },
  paymentOptions: { paymentMethodHandlers: [core.dummyPaymentHandler] },
  logger: new core.DefaultLogger({ level: core.LogLevel.Error }),
  plugins: [core.DefaultJobQueuePlugin, core.DefaultSearchPlugin.init({ bufferUpdates: false, indexStockStatus: true })],
};

async function main() {
  if (filling) {
    const samples = require('./initial-data.json');
    const app = await populate(() => core.bootstrap(settings), samples, path.join(__dirname, 'products.csv'));
    await app.close();
    process.exit(0);
  }
  const app = await core.bootstrap(settings);
  await app.get(core.JobQueueService).start();
  console.log('up');
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
