curl 'https://shop.example/api/orders?x=1' \
  -H 'accept: application/json' \
  -H 'authorization: Bearer abc' \
  --data-raw $'{"note":"it\'s \u0021"}' -H 'content-type: application/json' ;
curl -G http://h/s --data-urlencode 'q=a&b' -u a:b -F 'f=@a.png'
