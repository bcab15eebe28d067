#!/usr/bin/env bash
# A first order, from the hold at the gateway to the captured payment.
# Needs a running `capstan dev`, curl and jq.
set -euo pipefail
api=${CAPSTAN_API_URL:-http://127.0.0.1:8080}/api
sandbox=${CAPSTAN_SANDBOX_URL:-http://127.0.0.1:9100}
capstan=(curl -sS --fail-with-body -H 'Authorization: Bearer dev' -H 'Content-Type: application/vnd.api+json')

echo '# 1. the hold, at the gateway'
hold=$(curl -sS --fail-with-body "$sandbox/v1/payment_intents" -u sk_test_demo: \
  -d amount=1500 -d currency=eur -d capture_method=manual -d confirm=true | jq -r .id)
echo "$hold"

echo '# 2. a payment method that captures on approval, up to 500.00'
method=$("${capstan[@]}" "$api/payment_methods" -d '{"data":{"type":"payment_methods","attributes":{
  "name":"Card","payment_source_type":"stripe_payments","currency_code":"EUR",
  "auto_capture":true,"auto_capture_max_amount_cents":50000}}}' | jq -r .data.id)
echo "$method"

echo '# 3. the order'
order=$("${capstan[@]}" "$api/orders" -d '{"data":{"type":"orders","attributes":{
  "reference":"'"A-$(date +%s%N)"'","currency_code":"EUR","total_amount_cents":1500},
  "relationships":{"payment_method":{"data":{"type":"payment_methods","id":"'"$method"'"}}}}}' | jq -r .data.id)
echo "$order"

echo '# 4. its hold'
"${capstan[@]}" "$api/authorizations" -d '{"data":{"type":"authorizations","attributes":{
  "amount_cents":1500,"gateway_transaction_id":"'"$hold"'"},
  "relationships":{"order":{"data":{"type":"orders","id":"'"$order"'"}}}}}' | jq -c '.data.attributes | {number, formatted_amount}'

echo '# 5. approval'
"${capstan[@]}" -X PATCH "$api/orders/$order" -d '{"data":{"type":"orders","id":"'"$order"'","attributes":{"_approve":true}}}' |
  jq -c '.data.attributes | {status, payment_status}'

echo '# 6. a moment later'
for _ in $(seq 100); do
  [ "$("${capstan[@]}" "$api/orders/$order" | jq -r .data.attributes.payment_status)" = paid ] && break
done
"${capstan[@]}" "$api/orders/$order/captures" |
  jq -c '.data[].attributes | {number, formatted_amount, succeeded, gateway_transaction_id}'
"${capstan[@]}" "$api/orders/$order" | jq -c '.data.attributes | {status, payment_status}'
