"""What was made elsewhere, brought to the records that tables read: images, features, numbers."""
